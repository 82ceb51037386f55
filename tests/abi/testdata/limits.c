/* limits: each limit of a sandbox from C, just under it and just over, alone and by ten. */
#include "check.h"

#define PYTHON(program) (const char *const[]){ "/usr/bin/python3", "-I", "-c", program }, 4

/* Runs and frees; what the command printed has to be out, unless that is NULL. */
static sandlock_usage_t run(sandlock_builder_t *b, const char *const *argv, unsigned argc, const char *out)
{
	sandlock_sandbox_t *p = sandlock_sandbox_build(b, NULL, NULL);
	sandlock_usage_t usage;
	sandlock_result_t *r;
	char *text;

	CHECK(p != NULL);
	r = sandlock_run(p, NULL, argv, argc);
	CHECK(r != NULL && sandlock_result_usage(r, &usage, sizeof usage) == 0);
	text = sandlock_result_stdout(r);
	if (out && strcmp(text, out) != 0)
		fprintf(stderr, "%s%s, not %s", text, sandlock_result_stderr(r), out);
	CHECK(!out || strcmp(text, out) == 0);
	sandlock_string_free(text);
	sandlock_result_free(r);
	sandlock_sandbox_free(p);
	return usage;
}

#define CHILDREN(n) "import os\nr, w = os.pipe()\nmade = 0\ntry:\n  for _ in range(" #n "):\n" \
	"    if os.fork() == 0: os.close(w); os.read(r, 1); os._exit(0)\n    made += 1\n" \
	"except OSError as e: made = made, e.errno\nprint(made)\n"

static void processes(void)
{
	sandlock_usage_t u = run(sandlock_sandbox_builder_max_processes(basics(), 11), PYTHON(CHILDREN(10)), "10\n");

	CHECK(u.processes == 11 && u.limits == 0);
	u = run(sandlock_sandbox_builder_max_processes(basics(), 11), PYTHON(CHILDREN(11)), "(10, 11)\n");
	CHECK(u.processes == 11 && u.limits == SANDLOCK_LIMIT_PROCESSES);
	u = run(sandlock_sandbox_builder_max_processes(basics(), 1), PYTHON(CHILDREN(1)), "(0, 11)\n");
	CHECK(u.processes == 1 && u.limits == SANDLOCK_LIMIT_PROCESSES);
	u = run(sandlock_sandbox_builder_max_processes(basics(), SANDLOCK_UNLIMITED), PYTHON(CHILDREN(70)), "70\n");
	CHECK(u.processes == 0 && u.limits == 0);
}

#define FILL(count, mib) "import os\nr, w = os.pipe()\nfor _ in range(" #count " - 1):\n" \
	"  if os.fork() == 0: b = bytearray(" #mib " << 20); os.write(w, b'x'); os.read(os.pipe()[0], 1)\n" \
	"b = bytearray(" #mib " << 20)\nn = 1\nwhile n < " #count ": n += len(os.read(r, 99))\nprint(n, flush=True)\n"

static void memory(void)
{
	static const uint64_t limit = 160 << 20;
	sandlock_usage_t u = run(sandlock_sandbox_builder_max_memory(basics(), limit), PYTHON(FILL(1, 80)), "1\n");

	CHECK(u.limits == 0 && u.max_rss > 80 << 20);
	u = run(sandlock_sandbox_builder_max_memory(basics(), limit), PYTHON(FILL(1, 300)), "");
	CHECK(u.limits == SANDLOCK_LIMIT_MEMORY);
	u = run(sandlock_sandbox_builder_max_memory(basics(), limit), PYTHON(FILL(10, 6)), "10\n");
	CHECK(u.limits == 0);
	/* The largest first: the command may go on alone, and then waits for those that are gone. */
	u = run(sandlock_sandbox_builder_max_memory(basics(), limit),
	        PYTHON("import os\nfor _ in range(9):\n  if os.fork() == 0: b = bytearray(40 << 20); os.read(os.pipe()[0], 1)\n"
	               "print(9 in [os.wait()[1] for _ in range(1)], flush=True)\n"), NULL);
	CHECK(u.limits == SANDLOCK_LIMIT_MEMORY);
}

static void cpu(void)
{
	static const char burn[] = "import os, time\nend = time.monotonic() + 1\n"
		"while time.monotonic() < end: pass\n";
	sandlock_usage_t u = run(sandlock_sandbox_builder_max_cpu(basics(), 20), PYTHON(burn), "");

	CHECK(u.limits == SANDLOCK_LIMIT_CPU);
	CHECK(u.user_us + u.system_us < u.wall_us * 3 / 10 + 300000);
}

static void cores(void)
{
	run(sandlock_sandbox_builder_num_cpus(basics(), 1), PYTHON("import os; print(len(os.sched_getaffinity(0)))"), "1\n");
	run(sandlock_sandbox_builder_num_cpus(sandlock_sandbox_builder_fs_read(basics(), "/proc"), 1),
	    PYTHON("print(open('/proc/cpuinfo').read().count('processor\\t:'))"), "1\n");
	run(sandlock_sandbox_builder_max_memory(sandlock_sandbox_builder_fs_read(basics(), "/proc"), 128 << 20),
	    PYTHON("print(open('/proc/meminfo').readline().split()[1])"), "131072\n");
}

static void usage_of_nothing(void)
{
	sandlock_usage_t u;

	CHECK(sandlock_result_usage(NULL, &u, sizeof u) == -1);
}

int main(void)
{
	processes();
	memory();
	cpu();
	cores();
	usage_of_nothing();
	return 0;
}
