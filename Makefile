# numastow: one non-recursive build. `make help` lists the targets.
#
# Everything built goes to build/<profile>/; PROFILE=asan builds the same with sanitizers.

PROFILE ?= release
Q := $(if $(V),,@)# make V=1 shows the commands
B := build/$(PROFILE)
VERSION := $(shell cat VERSION)

CC ?= gcc
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
LIBEXECDIR ?= $(PREFIX)/libexec/numastow
MANDIR ?= $(PREFIX)/share/man
HOOKSDIR ?= /usr/share/containers/oci/hooks.d
UNITDIR ?= /lib/systemd/system

# What bubblewrap refuses to compile, and implicit conversions, where numbers come from strangers.
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wformat-truncation=0 -Wpointer-arith \
	-Wmissing-prototypes -Wstrict-prototypes -Wold-style-definition -Wwrite-strings -Wundef \
	-Wvla -Wimplicit-fallthrough -Wno-unused-parameter \
	-Werror=implicit-function-declaration -Werror=incompatible-pointer-types \
	-Werror=int-conversion -Werror=return-type -Werror=format-security
ifneq ($(CI),)
WARNINGS += -Werror
endif

HARDENING := -fstack-protector-strong -fstack-clash-protection -fcf-protection -D_FORTIFY_SOURCE=2
LDHARDENING := -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed

# The messages' code is generated, and so a system header to our warnings.
CPPFLAGS += -D_GNU_SOURCE -Ilib -I. -isystem build/proto -DSTOW_VERSION='"$(VERSION)"' -DSTOW_LIBEXECDIR='"$(LIBEXECDIR)"'
CFLAGS ?= -O2 -g
STOW_CFLAGS := -std=gnu17 -fPIE -fvisibility=hidden $(WARNINGS)

ifeq ($(PROFILE),asan)
STOW_CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
else ifeq ($(PROFILE),tsan)
STOW_CFLAGS += -fsanitize=thread -fno-omit-frame-pointer
LDFLAGS += -fsanitize=thread
else ifeq ($(PROFILE),coverage)
STOW_CFLAGS += --coverage -O0
LDFLAGS += --coverage
else ifeq ($(PROFILE),fuzz)
CC := clang
STOW_CFLAGS += -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
LDFLAGS += -fsanitize=address,undefined
else
STOW_CFLAGS += $(HARDENING)
LDFLAGS += $(LDHARDENING)
endif

# --- what is built -------------------------------------------------------------------------------

# What speaks gRPC, and HTTP to Kubernetes, are archives of their own: the hook must never link them.
lib_SRCS := $(filter-out lib/rpc/% lib/kube/%,$(sort $(wildcard lib/*/*.c)))
rpc_SRCS := $(sort $(wildcard lib/rpc/*.c))
kube_SRCS := $(sort $(wildcard lib/kube/*.c))
scheduler_SRCS := $(sort $(wildcard scheduler/*.c scheduler/*/*.c))
agent_SRCS := $(sort $(wildcard agent/*.c agent/*/*.c))
fleet_SRCS := $(sort $(wildcard cli/fleet/*.c))
view_SRCS := $(sort $(wildcard cli/view/*.c))
top_SRCS := cli/top/main.c
run_SRCS := $(sort $(wildcard cli/run/*.c))
kubectl_SRCS := $(sort $(wildcard cli/kubectl/*.c))
hook_SRCS := $(sort $(wildcard oci-hook/*.c))
cli_SRCS := $(sort $(wildcard cli/*.c cli/compat/*.c))
helper_SRCS := oci-hook/scope/main.c

LIB := $(B)/libstow.a
HOOK := $(B)/numastow-hook
CLI := $(B)/numastow
SCOPE := $(B)/numastow-scope
LIBRPC := $(B)/librpc.a
LIBKUBE := $(B)/libkube.a
LIBSCHEDULER := $(B)/libscheduler.a
LIBAGENT := $(B)/libagent.a
LIBVIEW := $(B)/libview.a
SCHEDULER := $(B)/numastow-scheduler
AGENT := $(B)/numastow-agent
FLEET := $(B)/numastow-fleet
VIEW := $(B)/numastow-view
TOP := $(B)/numastow-top
KUBECTL := $(B)/kubectl-numastow
RUN := $(B)/numastow-run
# A script, and what it reads.
SETUP := $(B)/numastow-setup $(B)/base-runtime-spec.json

objs = $(patsubst %.c,$(B)/%.o,$(1))

# The hook starts once for every container: linked statically (and position independent) it starts
# as fast as an empty program that loads the C library, docs/benchmarks.md has the figures. The command
# is linked in the same way.
# Sanitizers and coverage need the dynamic C library.
STATIC_LIBS := -lsqlite3 -ljson-c -lyaml -lprotobuf-c -lm
ifneq ($(filter asan tsan coverage fuzz,$(PROFILE)),)
PROGRAM_LINK := -pie
else
PROGRAM_LINK := -static-pie
endif
# SQLite's archive refers to dlopen(3), for extensions, which are never loaded: the linker's warning about
# it, of two lines, is dropped here. (Its --no-warnings would also make a program of what lacks functions.)
link_program = $(CC) $(LDFLAGS) $(PROGRAM_LINK) -o $@ $^ $(STATIC_LIBS) 2>$@.said; linked=$$?; \
	grep -vE "in function .unixDlOpen.:|Using 'dlopen' in statically linked" $@.said >&2; \
	rm -f $@.said; exit $$linked
SCOPE_LIBS := -lsystemd
RPC_LIBS := -lgrpc -lgpr -lprotobuf-c -lssl -lcrypto -lpthread
DAEMON_LIBS := $(STATIC_LIBS) -lsystemd -lmicrohttpd -lgnutls -lnuma $(RPC_LIBS)
CURL_LIBS := -lcurl
FLEET_LIBS := $(STATIC_LIBS) $(RPC_LIBS)

.PHONY: all
all: $(HOOK) $(CLI) $(SCOPE) $(RUN) $(SCHEDULER) $(AGENT) $(FLEET) $(VIEW) $(TOP) $(KUBECTL) $(SETUP)

include proto/module.mk

$(LIB): $(call objs,$(lib_SRCS)) $(drain_OBJS)
$(LIBRPC): $(call objs,$(rpc_SRCS)) $(filter-out $(drain_OBJS),$(proto_OBJS))
$(LIBKUBE): $(call objs,$(kube_SRCS))
$(LIBSCHEDULER): $(call objs,$(filter-out scheduler/main.c,$(scheduler_SRCS)))
$(LIBAGENT): $(call objs,$(filter-out agent/main.c,$(agent_SRCS)))
# And what numastow-view shares with numastow.
$(LIBVIEW): $(call objs,$(filter-out cli/view/main.c,$(view_SRCS)) \
	$(filter-out cli/main.c cli/fleet_start.c cli/cmd_%.c,$(cli_SRCS)))
# Appended: two files of one name, of two folders, are both wanted.
$(LIB) $(LIBRPC) $(LIBKUBE) $(LIBSCHEDULER) $(LIBAGENT) $(LIBVIEW):
	@rm -f $@
	$(Q)$(AR) qcs $@ $^

$(HOOK): $(call objs,$(hook_SRCS)) $(LIB)
	@echo "LD $@"
	$(Q)$(link_program)

# Reads annotations as the hook does, from the same code.
$(CLI): $(call objs,$(cli_SRCS) oci-hook/state.c) $(LIB)
	@echo "LD $@"
	$(Q)$(link_program)

$(SCOPE): $(call objs,$(helper_SRCS)) $(LIB)
	@echo "LD $@"
	$(Q)$(CC) $(LDFLAGS) -pie -o $@ $^ $(SCOPE_LIBS)

$(SCHEDULER): $(B)/scheduler/main.o $(LIBSCHEDULER) $(LIBKUBE) $(LIBRPC) $(LIB)
$(AGENT): $(B)/agent/main.o $(LIBAGENT) $(LIBKUBE) $(LIBRPC) $(LIB)
$(FLEET): $(call objs,$(fleet_SRCS) $(addprefix cli/,asked.c bar.c drain_asked.c \
	drain_view.c format.c grid.c json_writer.c match.c message.c paragraph.c usage.c width.c) oci-hook/state.c) \
	$(LIBRPC) $(LIB)
$(FLEET): DAEMON_LIBS := $(FLEET_LIBS)
$(KUBECTL): $(call objs,$(kubectl_SRCS) $(addprefix cli/,grid.c json_writer.c options.c usage.c width.c)) \
	$(LIBKUBE) $(LIB)
$(KUBECTL): DAEMON_LIBS := $(STATIC_LIBS) -lcrypto $(CURL_LIBS)
$(VIEW): $(B)/cli/view/main.o $(LIBVIEW) $(B)/oci-hook/state.o $(LIB)
# Only libsmartcols is linked dynamically, and what it needs: each library costs 0.1 ms at the start.
$(VIEW): DAEMON_LIBS := -Wl,-Bstatic $(filter-out -lm,$(STATIC_LIBS)) -Wl,-Bdynamic -lm -lsmartcols
# ncurses: likewise.
$(TOP): $(call objs,$(top_SRCS)) $(LIBVIEW) $(B)/oci-hook/state.o $(LIB)
$(TOP): DAEMON_LIBS := -Wl,-Bstatic $(filter-out -lm,$(STATIC_LIBS)) -Wl,-Bdynamic -lm -lncursesw -ltinfo
# libcgroup: in no other program's start. It loads libsystemd itself, where it needs it (cli/run/libsystemd.h). The C
# library is linked dynamically: it finds users by libraries of its own (nsswitch.conf(5)).
$(RUN): $(call objs,$(run_SRCS) $(addprefix cli/,asked.c options.c usage.c) oci-hook/state.c) $(LIB)
$(RUN): DAEMON_LIBS := -Wl,-Bstatic $(filter-out -lm,$(STATIC_LIBS)) -Wl,-Bdynamic -lm -lcgroup
$(SCHEDULER) $(AGENT): DAEMON_LIBS += $(CURL_LIBS)
$(SCHEDULER) $(AGENT) $(FLEET) $(VIEW) $(TOP) $(KUBECTL) $(RUN):
	@echo "LD $@"
	$(Q)$(CC) $(LDFLAGS) -pie -Wl,--as-needed -o $@ $^ $(DAEMON_LIBS)

$(SETUP): $(B)/%: deploy/setup/%
	@mkdir -p $(@D)
	$(Q)cp -p $< $@

# Everything that includes messages is made again with them: they are found as system headers, which
# -MMD leaves out.
$(call objs,$(rpc_SRCS) $(scheduler_SRCS) $(agent_SRCS) $(fleet_SRCS) $(view_SRCS) $(top_SRCS) $(run_SRCS) $(cli_SRCS) \
	$(wildcard lib/drain/*.c)): $(PB)/.stamp

# Programs look for their helpers where these are installed: `make install PREFIX=/usr` after `make` compiles that again.
folders := $(B)/.libexecdir
ifneq ($(shell cat $(folders) 2>/dev/null),$(LIBEXECDIR))
.PHONY: $(folders)
endif
$(folders):
	@mkdir -p $(@D)
	@echo '$(LIBEXECDIR)' >$@
$(call objs,lib/base/helper.c cli/ask.c cli/view/status_look.c): $(folders)

$(B)/%.o: %.c VERSION
	@mkdir -p $(@D)
	@echo "CC $<"
	$(Q)$(CC) $(CPPFLAGS) $(STOW_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

include tests/module.mk
-include deploy/module.mk tests/lint.mk tests/fuzz/module.mk tests/bench/module.mk

# --- what people call ----------------------------------------------------------------------------

.PHONY: run demo-kubernetes test test-full check-asan coverage clean compile-commands hooks help
##@ Use
run: ## the main job, for real: annotated containers on this machine
	@tests/tools/install-deps.sh run
	@$(MAKE) --no-print-directory all
	@tests/demo/run

demo-kubernetes: ## numastow on a stock Kubernetes, shown step by step on this machine
	@tests/tools/install-deps.sh test
	@$(MAKE) --no-print-directory all tools
	@tests/kubernetes/parts build
	@tests/kubernetes/demo.py

##@ Test
test: ## all the tests; installs what they need
	@tests/tools/install-deps.sh test
	@tests/tools/install-deps.sh lint
	@tests/run

test-full: ## the same, and what takes longer
	@tests/tools/install-deps.sh test
	@tests/tools/install-deps.sh lint
	@tests/run --full

.PHONY: test-kubernetes
test-kubernetes: ## numastow on a stock Kubernetes, which is built first: once, 15 minutes
	@tests/tools/install-deps.sh test
	@$(MAKE) --no-print-directory all tools
	@tests/kubernetes/parts build
	@tests/kubernetes/manifests.py
	@tests/kubernetes/deployed.py
	@tests/kubernetes/deployed.py --systemd
	@tests/kubernetes/deployed_webhook.py
	@tests/kubernetes/deployed_extender.py
	@tests/kubernetes/machines.py
	@tests/kubernetes/binding.py
	@tests/kubernetes/extender.py
	@tests/kubernetes/killed.py
	@tests/kubernetes/run --full

check-asan: ## unit tests with address and undefined-behaviour sanitizers
	@$(MAKE) --no-print-directory PROFILE=asan unit-tests
	@CMOCKA_MESSAGE_OUTPUT=TAP; export CMOCKA_MESSAGE_OUTPUT; set -e; \
	for t in $(patsubst %.c,build/asan/%,$(unit_SRCS)); do $$t; done

coverage: ## lines that the unit tests reach, by file
	@$(MAKE) --no-print-directory PROFILE=coverage unit-tests
	@for t in $(patsubst %.c,build/coverage/%,$(unit_SRCS)); do $$t >/dev/null 2>&1 || exit 1; done
	@gcov -n $(patsubst %.c,build/coverage/%.gcda,$(lib_SRCS)) 2>/dev/null | \
	awk '/^File .lib/ { f = $$2 } /^Lines/ && f { print f, $$2, $$4; f = "" }' | sed "s/executed://" | sort

##@ Develop
clean: ## remove everything built
	rm -rf build

compile-commands: $(PB)/.stamp ## compile_commands.json, for editors and clang's tools
	@printf '%s\n' $(lib_SRCS) $(rpc_SRCS) $(kube_SRCS) $(scheduler_SRCS) $(agent_SRCS) $(fleet_SRCS) $(view_SRCS) $(top_SRCS) $(run_SRCS) $(kubectl_SRCS) $(hook_SRCS) $(cli_SRCS) \
		$(helper_SRCS) $(unit_SRCS) $(tool_SRCS) | sort -u | \
	jq -Rn --arg dir '$(CURDIR)' --arg cc '$(CC) $(subst ','\'',$(CPPFLAGS)) $(STOW_CFLAGS) $(CFLAGS)' \
		'[inputs | {directory: $$dir, file: ., command: ($$cc + " -c " + .)}]' >compile_commands.json

hooks: ## check what is committed, by the fast part of lint
	git config core.hooksPath tests/tools/git-hooks

##@ Other
help: ## this list
	@awk -F ':.*## ' '/^##@ / { groups[++n] = substr($$0, 5); next } \
		/^[a-z-]+:.*## / { lines[n] = lines[n] sprintf("  %-18s%s\n", $$1, $$2) } \
		END { for (i = 1; i <= n; i++) for (k = 1; k <= i; k++) if (groups[k] == groups[i]) { \
			text[k] = text[k] lines[i]; break } \
		for (i = 1; i <= n; i++) if (text[i]) printf "%s%s:\n%s", (i > 1 ? "\n" : ""), groups[i], text[i] }' $(MAKEFILE_LIST)

-include $(wildcard $(B)/*/*.d $(B)/*/*/*.d $(B)/*/*/*/*.d)
