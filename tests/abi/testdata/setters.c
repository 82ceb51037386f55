/* Each setter sets its field: the policy that it makes is that of the JSON document
 * which names the field, and not the default one. */
#define _GNU_SOURCE
#include "check.h"

static int32_t allow(const sandlock_event_t *ev, sandlock_ctx_t *ctx, void *user)
{
	(void)ev, (void)ctx, (void)user;
	return 0;
}

static sandlock_builder_t *new(void)
{
	return sandlock_sandbox_builder_policy_fn(sandlock_sandbox_builder_new(), allow, NULL, NULL);
}

static char *explained(sandlock_builder_t *b)
{
	sandlock_sandbox_t *p = built(b);
	char *text = sandlock_sandbox_explain(p);

	CHECK(text != NULL);
	sandlock_sandbox_free(p);
	return text;
}

static void compare(const char *what, sandlock_builder_t *set, const char *json)
{
	char *a = explained(set), *b = explained(sandlock_sandbox_builder_json(new(), json, strlen(json))), *none = explained(new());

	if (strcmp(a, b) != 0 || strcmp(a, none) == 0) {
		fprintf(stderr, "%s %s the default:\n%s\n%s:\n%s\n", what, strcmp(a, none) ? "is not" : "is", a, json, b);
		_exit(1);
	}
	sandlock_string_free(a), sandlock_string_free(b), sandlock_string_free(none);
}

#define SAME(json, name, ...) compare(#name, sandlock_sandbox_builder_##name(new(), __VA_ARGS__), json)

int main(void)
{
	static const uint32_t cores[] = { 0, 8191 }, devices[] = { 5, 3 };
	char name[] = "getpid";
	sandlock_builder_t *b;

	SAME("{\"fs_readable\": [\"/usr\"]}", fs_read, "/usr");
	SAME("{\"fs_readable\": [\"/\\udcff\"]}", fs_read, "/\xff");
	SAME("{\"fs_writable\": [\"/tmp\"]}", fs_write, "/tmp");
	SAME("{\"fs_executable\": [\"/bin\"]}", fs_exec, "/bin");
	SAME("{\"fs_denied\": [\"/bin\"]}", fs_deny, "/bin");
	SAME("{\"unix_allow\": [\"/run\"]}", unix_allow, "/run");
	SAME("{\"cwd\": \"/etc\"}", cwd, "/etc");
	SAME("{\"net_allow\": [\"tcp://:443\"]}", net_allow, "tcp://:443");
	SAME("{\"net_deny_bind\": [\"22\"]}", net_deny_bind, "22");
	SAME("{\"net_allow_bind\": [\"8000-8002\"]}", net_allow_bind, "8000-8002");
	SAME("{\"net_deny\": [\"private\"]}", net_deny, "private");
	SAME("{\"net_allow_private_names\": true}", net_allow_private_names, true);
	SAME("{\"port_remap\": true}", port_remap, true);
	SAME("{\"clean_env\": true}", clean_env, true);
	SAME("{\"env\": {\"KEY\": \"value\"}}", env_var, "KEY", "value");
	SAME("{\"max_processes\": 7}", max_processes, 7);
	SAME("{\"max_processes\": \"unlimited\"}", max_processes, SANDLOCK_UNLIMITED);
	SAME("{\"max_memory\": \"5G\"}", max_memory, UINT64_C(5) << 30);
	SAME("{\"max_cpu\": 50}", max_cpu, 50);
	SAME("{\"num_cpus\": 2}", num_cpus, 2);
	SAME("{\"gpu_devices\": [3, 5]}", gpu_devices, devices, 2);
	SAME("{\"gpu_devices\": []}", gpu_devices, NULL, 0);
	SAME("{\"max_open_files\": 33}", max_open_files, 33);
	SAME("{\"max_output\": 5000000000}", max_output, UINT64_C(5000000000));
	SAME("{\"cpu_cores\": [0, 8191]}", cpu_cores, cores, 2);
	SAME("{\"no_coredump\": true}", no_coredump, true);
	SAME("{\"no_huge_pages\": true}", no_huge_pages, true);
	SAME("{\"no_randomize_memory\": true}", no_randomize_memory, true);
	SAME("{\"extra_deny_syscalls\": [\"getpid\", \"getppid\"]}", extra_deny_syscalls, "getpid,getppid");
	SAME("{\"extra_allow_syscalls\": [\"sysv_ipc\"]}", extra_allow_syscalls, "sysv_ipc");
	SAME("{\"allow_degraded\": [\"net-tcp\"]}", allow_degraded, SANDLOCK_PROTECTION_NET_TCP);
	SAME("{\"disable\": [\"signal-scope\"]}", disable, SANDLOCK_PROTECTION_SIGNAL_SCOPE);
	SAME("{\"policy_events\": [\"execveat\"]}", policy_events, "execveat");
	SAME("{\"policy_events\": []}", policy_events, "");
	SAME("{\"term_grace\": 1.5}", term_grace, 1500);
	SAME("{\"policy_timeout\": 1.5}", policy_timeout, 1500);
	SAME("{\"cwd\": \"/\"}", json, "{\"cwd\": \"/\"}", 12);

	/* One after the other: paths are added, by a document replaced. */
	b = sandlock_sandbox_builder_fs_read(sandlock_sandbox_builder_fs_read(new(), "/usr"), "/etc");
	compare("two paths", b, "{\"fs_readable\": [\"/usr\", \"/etc\"]}");
	b = sandlock_sandbox_builder_json(sandlock_sandbox_builder_fs_read(new(), "/usr"), "{\"fs_readable\": [\"/etc\"]}", 25);
	compare("a path and a document", b, "{\"fs_readable\": [\"/etc\"]}");
	/* Strings are copied. */
	b = sandlock_sandbox_builder_extra_deny_syscalls(new(), name);
	strcpy(name, "mkdir");
	compare("a copied name", b, "{\"extra_deny_syscalls\": [\"getpid\"]}");
	return 0;
}
