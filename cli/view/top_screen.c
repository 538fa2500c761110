// SPDX-License-Identifier: Apache-2.0
#include "cli/view/top_screen.h"

#include <errno.h>
#include <ncurses.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/view/output.h"
#include "cli/view/top_frame.h"

#define FIRST_DELAY (500 * STOW_MILLISECOND)
#define ESCAPE	    27
#define ESCAPE_MS   25 /* how long ncurses waits for the rest of a key's sequence */
#define ERASE	    127
#define ERASE_TOO   8

struct screen {
	struct top_view *view;
	int signals;
	bool quit, again; /* read again now */
	int caught;	  /* the signal that ends the program */
};

uint64_t top_first_delay(const struct top_view *view)
{
	return STOW_MIN(view->delay, FIRST_DELAY);
}

/* --- the terminal ------------------------------------------------------------ */

/* Block the signals, and open a descriptor that reads them: the handlers of ncurses may run at any
 * time. SIGTSTP is left to ncurses. */
static int open_signals(sigset_t *before)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, before);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static SCREEN *open_terminal(struct stow_err *err)
{
	SCREEN *terminal = newterm(NULL, stdout, stdin);

	if (!terminal) {
		(void)stow_err_set(err, ENOTTY,
				   "the type of the terminal (TERM) is not known; --text needs "
				   "none");
		return NULL;
	}
	cbreak();
	noecho();
	nonl();
	intrflush(stdscr, FALSE);
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	set_escdelay(ESCAPE_MS);
	curs_set(0);
	if (cli_output_coloured() && has_colors()) {
		start_color();
		use_default_colors();
		init_pair(CLI_GOOD, COLOR_GREEN, -1);
		init_pair(CLI_WARNING, COLOR_YELLOW, -1);
		init_pair(CLI_BAD, COLOR_RED, -1);
	}
	return terminal;
}

static void draw_line(const struct top_line *line, int y)
{
	static const attr_t looks[] = {
		[TOP_PLAIN] = A_NORMAL,
		[TOP_TITLE] = A_BOLD,
		[TOP_HEADING] = A_REVERSE,
		[TOP_CURSOR] = A_REVERSE,
	};
	bool coloured = cli_output_coloured() && has_colors();

	mvaddstr(y, 0, line->text);
	/* A name may have characters of two columns, which are counted as one: then the line
	 * continues on the next one. */
	if (y + 1 < LINES) {
		move(y + 1, 0);
		clrtobot();
	}
	if (line->look != TOP_PLAIN)
		mvchgat(y, 0, -1, looks[line->look], 0, NULL);
	for (int i = 0; coloured && line->look == TOP_PLAIN && i < line->n_spans; i++)
		mvchgat(y, line->spans[i].from, line->spans[i].columns, A_NORMAL,
			(short)line->spans[i].mark, NULL);
}

static int draw(struct screen *screen)
{
	static const struct top_line keys = {
		.text = (char *)"q quit  < > sort  r reverse  / filter  Enter pages  ? help",
	};
	struct top_frame frame = { 0 };
	char clock[32];
	int r;

	cli_format_time(stow_clock_wall(), clock, sizeof(clock));
	r = top_frame_make(screen->view, COLS, STOW_MAX(LINES - 1, 1), clock, &frame);
	if (r < 0)
		return r;
	erase();
	for (size_t i = 0; i < frame.n && (int)i < LINES - 1; i++)
		draw_line(&frame.lines[i], (int)i);
	if (LINES > 1)
		mvaddnstr(LINES - 1, 0, keys.text, COLS);
	refresh();
	top_frame_done(&frame);
	return 0;
}

/* --- keys ---------------------------------------------------------------------- */

static void move_cursor(struct top_view *view, long by)
{
	_cleanup_free_ const struct top_container **list = NULL;
	size_t n = 0, at = 0;
	long to;

	list = top_view_order(view, &n);
	if (!list || !n)
		return;
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i]->it.id, view->selected) == 0)
			at = i;
	to = (long)at + by;
	at = to < 0 ? 0 : STOW_MIN((size_t)to, n - 1);
	snprintf(view->selected, sizeof(view->selected), "%s", list[at]->it.id);
	if (view->details)
		top_pages_select(&view->pages, view->selected, 0);
}

static void toggle_details(struct screen *screen)
{
	struct top_view *view = screen->view;

	view->message[0] = '\0';
	view->details = !view->details;
	if (view->details)
		move_cursor(view, 0);
	else
		top_pages_select(&view->pages, "", 0);
	screen->again = view->details;
}

static void ask_key(struct top_view *view, int key)
{
	size_t len = strlen(view->filter);

	if (key == '\n' || key == '\r' || key == KEY_ENTER) {
		view->asking = false;
	} else if (key == ESCAPE) {
		view->asking = false;
		view->filter[0] = '\0';
	} else if ((key == KEY_BACKSPACE || key == ERASE || key == ERASE_TOO) && len) {
		view->filter[len - 1] = '\0';
	} else if (key >= ' ' && key < ERASE && len < TOP_FILTER_MAX) {
		view->filter[len] = (char)key;
		view->filter[len + 1] = '\0';
	}
}

static void sort_by(struct top_view *view, int step)
{
	view->sort = (enum top_sort)(((int)view->sort + step + TOP_SORTS) % TOP_SORTS);
}

static bool moves(struct top_view *view, int key)
{
	long page = STOW_MAX(LINES / 2, 1);

	if (key == KEY_UP || key == 'k')
		move_cursor(view, -1);
	else if (key == KEY_DOWN || key == 'j')
		move_cursor(view, 1);
	else if (key == KEY_PPAGE)
		move_cursor(view, -page);
	else if (key == KEY_NPAGE)
		move_cursor(view, page);
	else
		return false;
	return true;
}

static void take_key(struct screen *screen, int key)
{
	struct top_view *view = screen->view;

	if (view->asking) {
		ask_key(view, key);
		return;
	}
	if (moves(view, key))
		return;
	switch (key) {
	case 'q':
		screen->quit = true;
		break;
	case '<':
		sort_by(view, -1);
		break;
	case '>':
		sort_by(view, 1);
		break;
	case 'r':
		view->reverse = !view->reverse;
		break;
	case '/':
		view->asking = true;
		view->filter[0] = '\0';
		break;
	case ' ':
		screen->again = true;
		break;
	case '?':
	case 'h':
		view->help = !view->help;
		break;
	case '\n':
	case '\r':
	case KEY_ENTER:
		toggle_details(screen);
		break;
	case ESCAPE:
		view->help = false;
		view->filter[0] = '\0';
		break;
	default:
		break;
	}
}

/* --- waiting ------------------------------------------------------------------- */

static void take_signals(struct screen *screen)
{
	struct signalfd_siginfo info;

	while (read(screen->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		struct winsize size;

		if (info.ssi_signo != SIGWINCH)
			screen->caught = (int)info.ssi_signo;
		else if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col)
			resizeterm(size.ws_row, size.ws_col);
	}
}

/* Wait for a key, a signal, or the next reading. */
static void wait_for(struct screen *screen, uint64_t next)
{
	struct pollfd fds[] = { { .fd = STDIN_FILENO, .events = POLLIN },
				{ .fd = screen->signals, .events = POLLIN } };
	int key;

	if (poll(fds, STOW_ARRAY_SIZE(fds), stow_clock_ms_left(stow_clock_monotonic(), next)) < 0)
		return;
	if (fds[1].revents)
		take_signals(screen);
	if (!fds[0].revents)
		return;
	key = getch();
	/* A terminal that is gone is readable, but has nothing to read. */
	screen->quit |= key == ERR && (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL));
	for (; key != ERR && !screen->quit; key = getch())
		take_key(screen, key);
}

static int loop(struct screen *screen, uint64_t iterations, struct stow_err *err)
{
	uint64_t next = stow_clock_monotonic() + top_first_delay(screen->view), done = 0;
	int r = draw(screen);

	while (r == 0 && !screen->quit && !screen->caught && (!iterations || done < iterations)) {
		uint64_t now;

		wait_for(screen, next);
		now = stow_clock_monotonic();
		if (now >= next || screen->again) {
			r = top_view_read(screen->view, err);
			next = stow_clock_monotonic() + screen->view->delay;
			screen->again = false;
			done++;
		}
		if (r == 0 && !screen->caught)
			r = draw(screen);
	}
	if (r == -ENOMEM)
		(void)stow_err_sys(err, ENOMEM, "top");
	return r;
}

int top_screen_run(struct top_view *view, uint64_t iterations, struct stow_err *err)
{
	sigset_t before;
	struct screen screen = { .view = view, .signals = open_signals(&before) };
	SCREEN *terminal = NULL;
	int r = screen.signals < 0 ? stow_err_sys(err, errno, "signalfd") : 0;

	if (r == 0) {
		terminal = open_terminal(err);
		r = terminal ? loop(&screen, iterations, err) : -ENOTTY;
	}
	if (terminal) {
		endwin();
		delscreen(terminal);
	}
	stow_close_ptr(&screen.signals);
	if (screen.caught) {
		(void)signal(screen.caught, SIG_DFL);
		(void)raise(screen.caught);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}
