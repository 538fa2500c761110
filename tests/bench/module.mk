# Measurements. `make bench` prints a table and writes it to build/bench.txt; docs/benchmarks.md has
# the figures of one machine and says what they mean.

bench_SRCS := $(sort $(filter-out %/fleet_machine.c,$(wildcard tests/bench/*.c)))
bench_BINS := $(patsubst %.c,$(B)/%,$(bench_SRCS))

$(B)/tests/bench/empty $(B)/tests/bench/times: $(B)/%: $(B)/%.o
	@echo "LD $@"
	$(Q)$(CC) $(LDFLAGS) -pie -o $@ $^

# Those of the fleet speak gRPC.
fleet_BENCH := $(patsubst %.c,$(B)/%,$(filter tests/bench/fleet%,$(bench_SRCS)))
fleet_MACHINE := $(B)/tests/bench/fleet_machine.o
$(fleet_BENCH:=.o) $(fleet_MACHINE): $(PB)/.stamp
$(fleet_BENCH): $(B)/%: $(B)/%.o $(fleet_MACHINE) $(TEST_ARCHIVES)
	@echo "LD $@"
	$(Q)$(CC) $(LDFLAGS) -pie -Wl,--as-needed -o $@ $^ $(TEST_LIBS)

$(B)/tests/bench/apply $(B)/tests/bench/ledger $(B)/tests/bench/many $(B)/tests/bench/plan $(B)/tests/bench/scan: $(B)/%: $(B)/%.o $(B)/tests/unit/machine.o $(LIB)
	@echo "LD $@"
	$(Q)$(CC) $(LDFLAGS) -pie -o $@ $^ $(TEST_LIBS)

.PHONY: bench bench-bins
bench-bins: $(bench_BINS)

##@ Test
bench: all bench-bins ## measure; the table goes to build/bench.txt, too
	@tests/bench/run
