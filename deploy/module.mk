# Installing. DESTDIR is for packages: with it, nothing runs and nothing on this machine changes.

deploy_ENV = DESTDIR='$(DESTDIR)' BUILD='$(B)' PREFIX='$(PREFIX)' LIBEXECDIR='$(LIBEXECDIR)' \
	MANDIR='$(MANDIR)' SYSCONFDIR='$(SYSCONFDIR)' HOOKSDIR='$(HOOKSDIR)' UNITDIR='$(UNITDIR)'

.PHONY: install uninstall
##@ Use
install: all ## put everything in place; DESTDIR is honoured
	$(Q)$(deploy_ENV) deploy/install install

# Undoes every placement first, so that running containers go on with what they had.
uninstall: ## undo every placement, then remove what was installed
	$(Q)$(deploy_ENV) deploy/install uninstall
