# Tests. `make test` is tests/run, which builds what it needs through these targets.

comma := ,
unit_SRCS := $(sort $(wildcard tests/unit/test_*.c))
unit_BINS := $(patsubst %.c,$(B)/%,$(unit_SRCS))
unit_SUPPORT := $(call objs,$(filter-out $(unit_SRCS) tests/unit/whole.c,$(sort $(wildcard tests/unit/*.c))))
# A whole scheduler, for those tests only that want one.
whole_TESTS := $(addprefix $(B)/tests/unit/test_,drain_fleet reservation scheduler_probe webhook)
$(whole_TESTS): unit_MORE := $(B)/tests/unit/whole.o
$(whole_TESTS): $(B)/tests/unit/whole.o
$(whole_TESTS): unit_WRAP += -Wl$(comma)--wrap=clock_gettime
# The scheduler's clock, which tests/unit/clock.c can turn.
unit_WRAP := -Wl$(comma)--wrap=stow_now
# An engine that drains, which the test plays.
$(B)/tests/unit/test_agent_drain: unit_WRAP += $(addprefix -Wl$(comma)--wrap=stow_drain_,preview run \
	orphans recover rows rows_free forget)
# Calls without a network.
$(B)/tests/unit/test_agent_publisher: unit_WRAP += $(addprefix -Wl$(comma)--wrap=stow_rpc_,ref unref send \
	is_written set_data data)
$(B)/tests/unit/test_watch: unit_WRAP += $(addprefix -Wl$(comma)--wrap=stow_rpc_,ref unref send_packed \
	is_written close set_data data)
# An API server that tests/unit/api.c plays, and its clock.
api_TESTS := $(addprefix $(B)/tests/unit/test_,controllers)
$(api_TESTS): unit_WRAP += -Wl$(comma)--wrap=clock_gettime $(addprefix -Wl$(comma)--wrap=stow_kube_,new free stop wake \
	wait set_times get create replace delete list watch watch_free watch_version)
# A clock that is set while the store is open.
$(B)/tests/unit/test_store: unit_WRAP += -Wl$(comma)--wrap=clock_gettime
# A tool is a file with a hyphen in its name; the others are parts that tools share.
tool_SRCS := $(sort $(wildcard tests/tools/*-*.c))
tool_BINS := $(patsubst %.c,$(B)/%,$(tool_SRCS))
tool_SUPPORT := $(call objs,$(filter-out $(tool_SRCS),$(sort $(wildcard tests/tools/*.c))))
# Calls that tests/tools/fakekernel.c counts.
tool_WRAP := $(patsubst %,-Wl$(comma)--wrap=%,write renameat unlinkat mkdirat)
# The hook's code without its main(): tests call it with a root of their own.
hook_TEST_OBJS := $(call objs,$(filter-out oci-hook/main.c,$(hook_SRCS)))
TEST_ARCHIVES := $(LIBVIEW) $(LIBSCHEDULER) $(LIBAGENT) $(LIBKUBE) $(LIBRPC) $(LIB)
TEST_LIBS := $(DAEMON_LIBS) $(CURL_LIBS) -lsmartcols

$(call objs,$(unit_SRCS) $(wildcard tests/unit/*.c) $(tool_SRCS)): $(PB)/.stamp
$(unit_BINS): $(B)/%: $(B)/%.o $(unit_SUPPORT) $(hook_TEST_OBJS) $(TEST_ARCHIVES)
	@echo "LD $@"
	$(Q)$(CC) $(LDFLAGS) $(unit_WRAP) -pie -Wl,--as-needed -o $@ $(unit_MORE) $(filter-out $(unit_MORE),$^) -lcmocka $(TEST_LIBS)

$(tool_BINS): $(B)/%: $(B)/%.o $(tool_SUPPORT) $(hook_TEST_OBJS) $(TEST_ARCHIVES)
	@echo "LD $@"
	$(Q)$(CC) $(LDFLAGS) $(tool_WRAP) -pie -Wl,--as-needed -o $@ $^ $(TEST_LIBS)

.PHONY: unit-tests thread-tests tools
# Those of what has threads: for PROFILE=tsan.
thread-tests: $(patsubst %.c,$(B)/%,$(wildcard tests/unit/test_rpc*.c tests/unit/test_scheduler*.c \
	tests/unit/test_agent*.c tests/unit/test_store.c tests/unit/test_reservation.c \
	tests/unit/test_drain_fleet.c tests/unit/test_webhook.c tests/unit/test_hotplug.c tests/unit/test_root.c \
	tests/unit/test_kube.c tests/unit/test_controllers.c))
unit-tests: $(unit_BINS)
# Tests run beside each other: none builds anything, for another one would build the same at the same time.
tools: $(tool_BINS) $(B)/tests/bench/fleet_roam $(B)/tests/bench/fleet_sim
