# Fuzzing.
#
#   make fuzz TARGET=state TIME=60     looks for inputs that break a parser (clang's libFuzzer)
#   make PROFILE=asan fuzz-replay      the corpus of every target, as an ordinary test
#
# New inputs go to build/fuzz/corpus; what broke something is kept in tests/fuzz/corpus, by name.

fuzz_SRCS := $(sort $(wildcard tests/fuzz/fuzz_*.c))
fuzz_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(fuzz_SRCS))
fuzz_BINS := $(patsubst %.c,$(B)/%,$(fuzz_SRCS))
TARGET ?= state
TIME ?= 60

ifeq ($(PROFILE),fuzz)
fuzz_MAIN :=
fuzz_LINK := -fsanitize=fuzzer
else
fuzz_MAIN := $(B)/tests/fuzz/replay.o
fuzz_LINK :=
endif

# What a service sends and stores, tests/fuzz/program.c takes.
fuzz_WRAP :=
$(B)/tests/fuzz/fuzz_scheduler $(B)/tests/fuzz/fuzz_agent: fuzz_WRAP := \
	$(addprefix -Wl$(comma)--wrap=stow_,store_commit store_epoch store_time store_standbys $(addprefix rpc_,ref unref reply \
	send send_packed is_written backlog close set_data data peer cancelled note alloc printf loop_new loop_free server_new server_add \
	server_start server_listen_unix server_stop server_free))
$(B)/tests/fuzz/fuzz_etcd: fuzz_WRAP := $(addprefix -Wl$(comma)--wrap=stow_rpc_,ref unref send close \
	loop_new loop_free client_new client_free client_call client_open)

$(fuzz_BINS:=.o) $(B)/tests/fuzz/program.o: $(PB)/.stamp
$(fuzz_BINS): $(B)/%: $(B)/%.o $(B)/tests/fuzz/program.o $(fuzz_MAIN) $(hook_TEST_OBJS) $(TEST_ARCHIVES)
	@echo "LD $@"
	$(Q)$(CC) $(LDFLAGS) $(fuzz_LINK) $(fuzz_WRAP) -pie -Wl,--as-needed -o $@ $^ $(TEST_LIBS)

.PHONY: fuzz fuzz-run fuzz-bins fuzz-replay
fuzz-bins: $(fuzz_BINS)

##@ Test
fuzz: ## look for inputs that break a parser: TARGET=NAME TIME=SECONDS
	@$(MAKE) --no-print-directory PROFILE=fuzz TARGET=$(TARGET) TIME=$(TIME) fuzz-run

fuzz-run: $(B)/tests/fuzz/fuzz_$(TARGET)
	@mkdir -p build/fuzz/corpus/$(TARGET) build/fuzz/crashes
	$< -max_total_time=$(TIME) -max_len=16384 -timeout=5 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix=build/fuzz/crashes/$(TARGET)- \
		build/fuzz/corpus/$(TARGET) tests/fuzz/corpus/$(TARGET)

fuzz-replay: $(fuzz_BINS) ## every input of the corpus once
	@for name in $(fuzz_NAMES); do \
		$(B)/tests/fuzz/fuzz_$$name tests/fuzz/corpus/$$name 2>$(B)/tests/fuzz/$$name.log || \
		{ echo "not ok - $$name"; tail -n 40 $(B)/tests/fuzz/$$name.log; failed=1; }; \
	done; [ -z "$$failed" ]
