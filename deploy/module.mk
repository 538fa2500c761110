# Installing. DESTDIR is for packages: with it, nothing runs and nothing on this machine changes.

deploy_ENV = DESTDIR='$(DESTDIR)' BUILD='$(B)' PREFIX='$(PREFIX)' LIBEXECDIR='$(LIBEXECDIR)' \
	MANDIR='$(MANDIR)' SYSCONFDIR='$(SYSCONFDIR)' HOOKSDIR='$(HOOKSDIR)' UNITDIR='$(UNITDIR)' LINKS='$(LINKS)'

# Completions have the texts of --help: the programs run for them, and with a sanitizer only where they are installed.
COMPLETION := $(B)/completion/numastow
completion_DIR := deploy/completion
$(COMPLETION): $(addprefix $(completion_DIR)/,generate table names.sed numastow.bash numastow.zsh numastow.fish) \
	$(CLI) $(FLEET) $(RUN) $(VIEW) $(TOP) $(SETUP)
	@echo "GEN $@"
	$(Q)$(completion_DIR)/generate $(CLI) $(@D)
ifeq ($(filter asan tsan coverage fuzz,$(PROFILE)),)
all: $(COMPLETION)
endif

.PHONY: install uninstall
##@ Use
install: all $(COMPLETION) ## put everything in place; DESTDIR is honoured; LINKS=yes: numactl, taskset, migratepages, too
	$(Q)$(deploy_ENV) deploy/install install

# Undoes every placement first, so that running containers go on with what they had.
uninstall: ## undo every placement, then remove what was installed
	$(Q)$(deploy_ENV) deploy/install uninstall
