// Make the FIFO that the argument names and print "ready"; then have io_uring start one more worker
// at each SIGUSR1 and print their number. Each worker waits for ever in open(2) of the FIFO.
#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned *at(char *ring, unsigned offset)
{
	return (unsigned *)(void *)(ring + offset);
}

int main(int argc, char **argv)
{
	struct io_uring_params params = { 0 };
	int sig, n = 0;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = (int)syscall(SYS_io_uring_setup, 64, &params);
	if (fd < 0 || argc != 2 || mkfifo(argv[1], 0600)) {
		perror("io_uring_setup, mkfifo");
		return 1;
	}
	char *sq = mmap(NULL, params.sq_off.array + params.sq_entries * sizeof(unsigned),
			PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqes =
		mmap(NULL, params.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || sqes == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	while (sigwait(&set, &sig) == 0 && sig == SIGUSR1) {
		unsigned tail = *at(sq, params.sq_off.tail),
			 slot = tail & *at(sq, params.sq_off.ring_mask);

		memset(&sqes[slot], 0, sizeof(*sqes));
		sqes[slot].opcode = IORING_OP_OPENAT;
		sqes[slot].flags = IOSQE_ASYNC;
		sqes[slot].fd = AT_FDCWD;
		sqes[slot].addr = (uintptr_t)argv[1];
		at(sq, params.sq_off.array)[slot] = slot;
		__atomic_store_n(at(sq, params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
		if (syscall(SYS_io_uring_enter, fd, 1, 0, 0, NULL, 0) != 1) {
			perror("io_uring_enter");
			return 1;
		}
		printf("%d\n", ++n);
		fflush(stdout);
	}
	return 0;
}
