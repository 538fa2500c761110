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

CPPFLAGS += -D_GNU_SOURCE -Ilib -I. -DSTOW_VERSION='"$(VERSION)"' -DSTOW_LIBEXECDIR='"$(LIBEXECDIR)"'
CFLAGS ?= -O2 -g
STOW_CFLAGS := -std=gnu17 -fPIE -fvisibility=hidden $(WARNINGS)

ifeq ($(PROFILE),asan)
STOW_CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
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

lib_SRCS := $(sort $(wildcard lib/*/*.c))
hook_SRCS := $(sort $(wildcard oci-hook/*.c))
cli_SRCS := $(sort $(wildcard cli/*.c))
helper_SRCS := oci-hook/scope/main.c

LIB := $(B)/libstow.a
HOOK := $(B)/numastow-hook
CLI := $(B)/numastow
SCOPE := $(B)/numastow-scope

objs = $(patsubst %.c,$(B)/%.o,$(1))

# The hook starts once for every container: linked statically (and position independent) it starts
# as fast as an empty program that loads the C library, docs/benchmarks.md has the figures.
# Sanitizers and coverage need the dynamic C library.
STATIC_LIBS := -lsqlite3 -ljson-c -lcyaml -lyaml -lm
ifneq ($(filter asan coverage fuzz,$(PROFILE)),)
HOOK_LINK := -pie
HOOK_LIBS := $(STATIC_LIBS)
else
HOOK_LINK := -static-pie
HOOK_LIBS := $(STATIC_LIBS)
endif
CLI_LIBS := -lsqlite3 -ljson-c -lcyaml -lyaml -lm
SCOPE_LIBS := -lsystemd

.PHONY: all
all: $(HOOK) $(CLI) $(SCOPE)

$(LIB): $(call objs,$(lib_SRCS))
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(HOOK): $(call objs,$(hook_SRCS)) $(LIB)
	@echo "LD $@"
	$(Q)$(CC) $(LDFLAGS) $(HOOK_LINK) -o $@ $^ $(HOOK_LIBS)

$(CLI): $(call objs,$(cli_SRCS)) $(LIB)
	@echo "LD $@"
	$(Q)$(CC) $(LDFLAGS) -pie -o $@ $^ $(CLI_LIBS)

$(SCOPE): $(call objs,$(helper_SRCS)) $(LIB)
	@echo "LD $@"
	$(Q)$(CC) $(LDFLAGS) -pie -o $@ $^ $(SCOPE_LIBS)

$(B)/%.o: %.c VERSION
	@mkdir -p $(@D)
	@echo "CC $<"
	$(Q)$(CC) $(CPPFLAGS) $(STOW_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

include tests/module.mk

.PHONY: clean
clean:
	rm -rf build

-include $(wildcard $(B)/*/*.d $(B)/*/*/*.d $(B)/*/*/*/*.d)
