/* race WRITER CHANGE CORE ROUNDS [DIR]: executes again and again, in a child that runs on
 * one core, while a writer on the same core or another makes and unmakes a change of what
 * the kernel is about to read. ADVERSARY sections 1, 2, 4. What is executed is this
 * program, which prints how many arguments it has, and all but the first. */
#include "try.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>

enum { LONGEST = 131071 }; /* execve(2): MAX_ARG_STRLEN without its NUL */

/* What the executing task hands to the kernel, private or shared with the writer. */
static struct memory {
	char *argv[8], *envp[2];
	char path[512];
	char word[LONGEST + 1];
} own, *m = &own;

/* The writer has written since the round began, or can't. */
enum { NOT_YET, WRITTEN, BROKEN };
static volatile int *started;

static void give_up(void)
{
	*started = BROKEN;
	_exit(3);
}

/* ---- changes: these bytes in that memory, or these files ------------------- */

static void *at;
static size_t len;
static const void *good, *evil;

static char files[512], other[600], self_line[512]; /* what change_files() works on */
static int line_at;
static void (*change_files)(int bad);

/* A symbolic link on the way to the program leads elsewhere. */
static void relink(int bad)
{
	unlink(other); /* of a writer that was killed */
	if (symlink(bad ? "outside" : "inplace", other) != 0 || rename(other, files) != 0)
		give_up();
}

/* The script says something else. Refused while somebody executes it, execve(2). */
static void rewrite(int bad)
{
	int fd = open(files, O_WRONLY);
	if (fd >= 0 && pwrite(fd, bad ? "evil" : "say ", 4, line_at) != 4)
		give_up();
	close(fd);
}

static void changes(void *where, size_t n, const void *as_judged, const void *after)
{
	at = where, len = n, good = as_judged, evil = after;
}

static void prepare(char *self, const char *change, const char *dir)
{
	static char *null, *tail = (char *)"tail", *empty = (char *)"", *me;
	me = self;
	memset(m, 0, sizeof *m);
	strcpy(m->path, self);
	strcpy(m->word, "good");
	m->argv[0] = self, m->argv[1] = (char *)"say", m->argv[2] = m->word;
	if (!strcmp(change, "word")) {
		changes(m->word, 4, "good", "evil");
	} else if (!strcmp(change, "boundary")) { /* what lies behind the string comes into it */
		memcpy(m->word + 5, "evil", 5);
		changes(m->word + 4, 1, "", "-");
	} else if (!strcmp(change, "more")) { /* and the new image holds the same bytes */
		m->envp[0] = tail;
		changes(&m->argv[3], sizeof tail, &null, &tail);
	} else if (!strcmp(change, "fewer")) {
		m->argv[3] = m->envp[0] = tail;
		changes(&m->argv[3], sizeof tail, &tail, &null);
	} else if (!strcmp(change, "empty")) {
		changes(&m->argv[3], sizeof tail, &null, &empty);
	} else if (!strcmp(change, "none")) {
		strcpy(m->word, "evil");
		changes(&m->argv[0], sizeof tail, &null, &me);
	} else if (!strcmp(change, "long")) {
		memset(m->word, 'x', LONGEST);
		changes(m->word + LONGEST - 4, 4, "good", "evil");
	} else if (!strcmp(change, "path")) {
		sprintf(m->path, "%.400s/inplace/race", dir);
		changes(m->path + strlen(dir) + 1, 7, "inplace", "outside");
	} else if (!strcmp(change, "link")) {
		sprintf(m->path, "%.400s/link/race", dir);
		sprintf(files, "%.400s/link", dir);
		sprintf(other, "%s.new", files);
		change_files = relink;
	} else { /* a script, or one whose interpreter is a script */
		sprintf(m->path, "%.400s/%s", dir, change);
		sprintf(files, "%.400s/script", dir);
		line_at = sprintf(self_line, "#!%.400s ", self);
		change_files = rewrite;
	}
}

/* ---- writers ------------------------------------------------------------------ */

static int file = -1;  /* the file that m is a mapping of */
static int words = -1; /* one that holds what is good, then what is evil */
static pid_t target;
static int wrote, refused, in_vain;

static void by_store(const void *value) { memcpy(at, value, len); }
static void by_write(const void *value)
{
	if (pwrite(file, value, len, (char *)at - (char *)m) != (ssize_t)len)
		give_up();
}
static void by_read(const void *value)
{
	if (pread(words, at, len, value == good ? 0 : (off_t)len) != (ssize_t)len)
		give_up();
}
static void by_vm(const void *value)
{
	struct iovec from = { (void *)(uintptr_t)value, len }, to = { at, len };
	if (process_vm_writev(target, &from, 1, &to, 1, 0) == (ssize_t)len)
		wrote++;
	else if (errno == EPERM)
		refused++, in_vain++;
	else
		in_vain = 1000; /* the old memory is gone */
}
static void by_call(const void *value) { change_files(value != good); }

static const struct writer {
	const char *name;
	void (*put)(const void *value);
	enum { THREAD, TASK, PEER, PARENT } who;
} writers[] = {
	{ "thread", by_store, THREAD },
	{ "clone", by_store, TASK },   /* CLONE_VM: no thread, and outlives the exec */
	{ "read", by_read, TASK },     /* by the kernel, in a read(2) of such a task */
	{ "mapping", by_store, PEER }, /* through a mapping of its own */
	{ "file", by_write, PEER },    /* by write(2) into the file that is mapped */
	{ "writev", by_vm, PARENT },   /* process_vm_writev(2) */
	{ "files", by_call, PEER },
}, *writer;

/* Both words stand for the same time, a longer and longer one. */
static void put(unsigned i)
{
	writer->put(i % 2 ? good : evil);
	*started = WRITTEN;
	for (volatile unsigned hold = i / 2 % 64; hold > 0; hold--)
		;
}

static int cores[2]; /* the caller's, the writer's */
static void pin(int core)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (sched_setaffinity(0, sizeof set, &set) != 0)
		exit(5);
}

static void find_cores(int same)
{
	cpu_set_t set;
	int found = 0;
	sched_getaffinity(0, sizeof set, &set);
	for (int i = 0; i < CPU_SETSIZE && found < 2; i++)
		if (CPU_ISSET(i, &set))
			cores[found++] = i;
	if (same)
		cores[1] = cores[0];
	else if (found < 2)
		exit(5);
}

static void *writes(void *p)
{
	pin(cores[1]);
	for (unsigned i = 0;; i++)
		put(i);
	return p;
}

static int write_task(void *p)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	writes(p);
	return 0;
}

static void share(void)
{
	/* MFD_NOEXEC_SEAL, without which there is none under fs_executable; Linux 6.3. */
	file = memfd_create("memory", 8);
	if (file < 0)
		file = memfd_create("memory", 0);
	if (file < 0 || ftruncate(file, sizeof *m) != 0)
		exit(3);
	m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
}

static void start_peer(void)
{
	pid_t parent = getpid();
	if (fork() != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent)
		writes(NULL);
	_exit(0);
}

static void execute(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	pthread_t t;
	if (writer->who == THREAD)
		pthread_create(&t, NULL, writes, NULL);
	else if (writer->who == TASK)
		clone(write_task, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
	pin(cores[0]);
	while (*started == NOT_YET)
		sched_yield();
	if (*started == BROKEN)
		_exit(1);
	execve(m->path, m->argv, m->envp);
	_exit(64 + errno);
}

static void attack(int rounds)
{
	static int failed[256];
	int status, ran = 0, killed = 0;
	for (int i = 0; i < rounds; i++) {
		*started = NOT_YET;
		target = fork();
		if (target == 0)
			execute();
		in_vain = writer->who != PARENT ? 1000 : 0;
		for (unsigned k = 0; in_vain < 1000; k++)
			put(k);
		if (waitpid(target, &status, 0) != target)
			exit(4);
		if (WIFSIGNALED(status))
			killed++;
		else if (WEXITSTATUS(status) == 7)
			ran++;
		else
			failed[WEXITSTATUS(status)]++;
	}
	say("ran", ran), say("killed", killed), say("denied", failed[64 + EPERM]);
	failed[64 + EPERM] = 0;
	for (int i = 0; i < 256; i++)
		if (failed[i])
			printf("failed-%d %d 0\n", i - 64, failed[i]);
	say("wrote", wrote), say("refused", refused);
}

/* A copy that may not run has another mark. */
static const volatile char mark[] = "MARK: in place";

static void print_arguments(int argc, char **argv)
{
	printf("%s%d", mark[6] == 'i' ? "" : "outside ", argc);
	for (int i = 1; i < argc; i++) {
		size_t n = strlen(argv[i]);
		printf("%c", i == 1 ? ' ' : '|');
		if (n > 256)
			printf("%.4s..%s", argv[i], argv[i] + n - 4);
		else
			printf("%s", argv[i]);
	}
	printf("\n");
}

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 4 && i < sizeof writers / sizeof *writers; i++)
		if (!strcmp(argv[1], writers[i].name))
			writer = &writers[i];
	if (!writer) {
		print_arguments(argc, argv);
		return 7;
	}
	if (writer->put == by_store && writer->who == PEER)
		share();
	else if (writer->put == by_write)
		share();
	prepare(argv[0], argv[2], argc > 5 ? argv[5] : "");
	find_cores(!strcmp(argv[3], "same"));
	started = mmap(NULL, sizeof *started, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (writer->put == by_read) {
		words = memfd_create("words", 0);
		if (write(words, good, len) != (ssize_t)len || write(words, evil, len) != (ssize_t)len)
			return 3;
	}
	if (writer->put == by_call)
		good = "", evil = NULL;
	if (writer->who == PEER)
		start_peer();
	if (writer->who == PARENT)
		pin(cores[1]);
	attack(atoi(argv[4]));
	return 0;
}
