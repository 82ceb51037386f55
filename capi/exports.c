/* The public symbols. Each checks that the library can be called here, which has
 * to be known before Go is entered, and calls the Go function of its name. */
#include "../include/sandlock.h"

#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"
#include "callback.h"
#include "exports.h"

/* ---- builder ---- */

API sandlock_builder_t *sandlock_sandbox_builder_new(void)
{
	ENTER(NULL);
	return goBuilderNew();
}

API sandlock_builder_t *sandlock_sandbox_builder_json(sandlock_builder_t *b, const char *json, size_t len)
{
	ENTER(b);
	return goBuilderJSON(b, (char *)json, len);
}

/* Setters of one string, which Go tells apart by number: see setString. */
#define STRING_SETTER(name, id)                                                                   \
	API sandlock_builder_t *sandlock_sandbox_builder_##name(sandlock_builder_t *b, const char *v) \
	{                                                                                         \
		ENTER(b);                                                                         \
		return goBuilderString(b, id, (char *)v);                                         \
	}
STRING_SETTER(fs_read, FIELD_FS_READ)
STRING_SETTER(fs_write, FIELD_FS_WRITE)
STRING_SETTER(fs_exec, FIELD_FS_EXEC)
STRING_SETTER(fs_deny, FIELD_FS_DENY)
STRING_SETTER(unix_allow, FIELD_UNIX_ALLOW)
STRING_SETTER(cwd, FIELD_CWD)
STRING_SETTER(net_allow, FIELD_NET_ALLOW)
STRING_SETTER(net_deny, FIELD_NET_DENY)
STRING_SETTER(net_allow_bind, FIELD_NET_ALLOW_BIND)
STRING_SETTER(net_deny_bind, FIELD_NET_DENY_BIND)
STRING_SETTER(extra_deny_syscalls, FIELD_EXTRA_DENY)
STRING_SETTER(extra_allow_syscalls, FIELD_EXTRA_ALLOW)
STRING_SETTER(policy_events, FIELD_POLICY_EVENTS)

/* Setters of one number. */
#define NUMBER_SETTER(name, type, id)                                                      \
	API sandlock_builder_t *sandlock_sandbox_builder_##name(sandlock_builder_t *b, type v) \
	{                                                                                  \
		ENTER(b);                                                                  \
		return goBuilderNumber(b, id, (uint64_t)v);                                \
	}
NUMBER_SETTER(net_allow_private_names, bool, FIELD_NET_ALLOW_PRIVATE_NAMES)
NUMBER_SETTER(port_remap, bool, FIELD_PORT_REMAP)
NUMBER_SETTER(clean_env, bool, FIELD_CLEAN_ENV)
NUMBER_SETTER(max_open_files, unsigned int, FIELD_MAX_OPEN_FILES)
NUMBER_SETTER(max_output, uint64_t, FIELD_MAX_OUTPUT)
NUMBER_SETTER(max_processes, uint32_t, FIELD_MAX_PROCESSES)
NUMBER_SETTER(max_memory, uint64_t, FIELD_MAX_MEMORY)
NUMBER_SETTER(max_cpu, uint8_t, FIELD_MAX_CPU)
NUMBER_SETTER(num_cpus, uint32_t, FIELD_NUM_CPUS)
NUMBER_SETTER(no_coredump, bool, FIELD_NO_COREDUMP)
NUMBER_SETTER(no_huge_pages, bool, FIELD_NO_HUGE_PAGES)
NUMBER_SETTER(no_randomize_memory, bool, FIELD_NO_RANDOMIZE_MEMORY)
NUMBER_SETTER(allow_degraded, uint32_t, FIELD_ALLOW_DEGRADED)
NUMBER_SETTER(disable, uint32_t, FIELD_DISABLE)
NUMBER_SETTER(term_grace, uint64_t, FIELD_TERM_GRACE)
NUMBER_SETTER(policy_timeout, uint64_t, FIELD_POLICY_TIMEOUT)
NUMBER_SETTER(argv_safety, int, FIELD_ARGV_SAFETY)
NUMBER_SETTER(record_execs, bool, FIELD_RECORD_EXECS)
NUMBER_SETTER(record_denials, bool, FIELD_RECORD_DENIALS)

API sandlock_builder_t *sandlock_sandbox_builder_env_var(sandlock_builder_t *b, const char *key, const char *value)
{
	ENTER(b);
	return goBuilderEnv(b, (char *)key, (char *)value);
}

API sandlock_builder_t *sandlock_sandbox_builder_cpu_cores(sandlock_builder_t *b, const uint32_t *cores, uint32_t len)
{
	ENTER(b);
	return goBuilderNumbers(b, FIELD_CPU_CORES, (uint32_t *)cores, len);
}

API sandlock_builder_t *sandlock_sandbox_builder_gpu_devices(sandlock_builder_t *b, const uint32_t *devices, uint32_t len)
{
	ENTER(b);
	return goBuilderNumbers(b, FIELD_GPU_DEVICES, (uint32_t *)devices, len);
}

/* User data is consumed, even on error: a forked child has its own. */
static bool may_install(void *user_data, void (*drop)(void *))
{
	if (sl_enter())
		return true;
	if (drop)
		sl_drop(drop, user_data);
	return false;
}

API sandlock_builder_t *sandlock_sandbox_builder_policy_fn(sandlock_builder_t *b, sandlock_policy_fn_t cb,
                                                           void *user_data, void (*drop)(void *))
{
	if (!may_install(user_data, drop))
		return b;
	return goBuilderCallback(b, cb, NULL, user_data, drop);
}

API sandlock_builder_t *sandlock_sandbox_builder_policy_callback(sandlock_builder_t *b, sandlock_policy_callback_t cb,
                                                                 void *user_data, void (*drop)(void *))
{
	if (!may_install(user_data, drop))
		return b;
	return goBuilderCallback(b, NULL, cb, user_data, drop);
}

/* ---- callback contexts ---- */

API void sandlock_ctx_restrict_network(sandlock_ctx_t *ctx, const char *const *ips, uint32_t count)
{
	ENTER();
	goCtxRestrictNetwork(ctx, (char **)ips, count);
}

API void sandlock_ctx_grant_network(sandlock_ctx_t *ctx, const char *const *ips, uint32_t count)
{
	ENTER();
	goCtxGrantNetwork(ctx, (char **)ips, count);
}

API void sandlock_ctx_restrict_max_memory(sandlock_ctx_t *ctx, uint64_t bytes)
{
	ENTER();
	goCtxRestrictMaxMemory(ctx, bytes);
}

API void sandlock_ctx_restrict_max_processes(sandlock_ctx_t *ctx, uint32_t n)
{
	ENTER();
	goCtxRestrictMaxProcesses(ctx, n);
}

API void sandlock_ctx_restrict_pid_network(sandlock_ctx_t *ctx, uint32_t pid, const char *const *ips, uint32_t count)
{
	ENTER();
	goCtxRestrictPIDNetwork(ctx, pid, (char **)ips, count);
}

API void sandlock_ctx_deny_path(sandlock_ctx_t *ctx, const char *path)
{
	ENTER();
	goCtxDenyPath(ctx, (char *)path);
}

API void sandlock_ctx_allow_path(sandlock_ctx_t *ctx, const char *path)
{
	ENTER();
	goCtxAllowPath(ctx, (char *)path);
}

/* ---- built policies ---- */

static void failed(int *err, char **err_msg)
{
	if (err)
		*err = -1;
	if (err_msg)
		*err_msg = NULL;
}

API sandlock_sandbox_t *sandlock_sandbox_build(sandlock_builder_t *b, int *err, char **err_msg)
{
	failed(err, err_msg);
	ENTER(NULL);
	return goBuild(b, err, err_msg);
}

API sandlock_sandbox_t *sandlock_sandbox_from_json(const char *json, size_t len, int *err, char **err_msg)
{
	failed(err, err_msg);
	ENTER(NULL);
	return goBuild(goBuilderJSON(goBuilderNew(), (char *)json, len), err, err_msg);
}

API void sandlock_sandbox_free(sandlock_sandbox_t *p)
{
	ENTER();
	goSandboxFree(p);
}

API char *sandlock_sandbox_explain(const sandlock_sandbox_t *p)
{
	ENTER(NULL);
	return goExplain((sandlock_sandbox_t *)p);
}

/* ---- runs ---- */

API int sandlock_confine(const sandlock_sandbox_t *policy)
{
	ENTER(-1);
	return goConfine((sandlock_sandbox_t *)policy);
}

API sandlock_result_t *sandlock_run(const sandlock_sandbox_t *policy, const char *name, const char *const *argv,
                                    unsigned int argc)
{
	ENTER(NULL);
	return goRun((sandlock_sandbox_t *)policy, (char *)name, (char **)argv, argc);
}

API int sandlock_run_interactive(const sandlock_sandbox_t *policy, const char *name, const char *const *argv,
                                 unsigned int argc)
{
	ENTER(-1);
	return goRunInteractive((sandlock_sandbox_t *)policy, (char *)name, (char **)argv, argc);
}

static sandlock_handle_t *spawn(const sandlock_sandbox_t *policy, const char *name, const char *executable,
                                const char *const *argv, unsigned int argc, int stdin_fd, const sandlock_file_t *files, uint32_t count,
                                uint32_t flags, sandlock_handle_t **out)
{
	sandlock_handle_t *h, *unused;
	if (!out)
		out = &unused;
	*out = NULL;
	ENTER(NULL);
	h = goSpawn((sandlock_sandbox_t *)policy, (char *)name, (char *)executable, (char **)argv, argc, stdin_fd,
		    (sandlock_file_t *)files, count, flags);
	return *out = h;
}

API sandlock_handle_t *sandlock_spawn(const sandlock_sandbox_t *policy, const char *name, const char *const *argv,
                                      unsigned int argc, int stdin_fd, uint32_t flags, sandlock_handle_t **out)
{
	return spawn(policy, name, NULL, argv, argc, stdin_fd, NULL, 0, flags, out);
}

API sandlock_handle_t *sandlock_spawn_files(const sandlock_sandbox_t *policy, const char *name, const char *executable,
                                            const char *const *argv, unsigned int argc, const sandlock_file_t *files, uint32_t count,
                                            uint32_t flags, sandlock_handle_t **out)
{
	return spawn(policy, name, executable, argv, argc, -1, files, count, flags, out);
}

API sandlock_handle_t *sandlock_popen(const sandlock_sandbox_t *policy, const char *name, const char *const *argv,
                                      unsigned int argc, uint32_t stdin_mode, uint32_t stdout_mode, uint32_t stderr_mode,
                                      int *out_stdin_fd, int *out_stdout_fd, int *out_stderr_fd)
{
	uint32_t modes[3] = { stdin_mode, stdout_mode, stderr_mode };
	int *outs[3] = { out_stdin_fd, out_stdout_fd, out_stderr_fd }, ends[3] = { -1, -1, -1 }, i;
	sandlock_handle_t *h;

	for (i = 0; i < 3; i++)
		if (outs[i])
			*outs[i] = -1;
	ENTER(NULL);
	for (i = 0; i < 3; i++)
		if (modes[i] == SANDLOCK_STDIO_PIPED && !outs[i]) {
			sl_set_error("a piped stream needs a place for the descriptor of its other end, not NULL", 0);
			return NULL;
		}
	h = goPopen((sandlock_sandbox_t *)policy, (char *)name, (char **)argv, argc, modes, ends);
	for (i = 0; i < 3; i++)
		if (outs[i])
			*outs[i] = ends[i];
	return h;
}

API sandlock_handle_t *sandlock_create(const sandlock_sandbox_t *policy, const char *name, const char *const *argv,
                                       unsigned int argc)
{
	return sandlock_spawn(policy, name, argv, argc, -1, SANDLOCK_SPAWN_PARKED, NULL);
}

API sandlock_handle_t *sandlock_create_for_run(const sandlock_sandbox_t *policy, const char *name,
                                               const char *const *argv, unsigned int argc)
{
	return sandlock_create(policy, name, argv, argc);
}

/* Functions of a handle alone. */
#define HANDLE_FUNCTION(name, go)                    \
	API int sandlock_##name(sandlock_handle_t *h) \
	{                                            \
		ENTER(-1);                           \
		return go(h);                        \
	}
HANDLE_FUNCTION(start, goStart)
HANDLE_FUNCTION(handle_step, goStep)
HANDLE_FUNCTION(handle_kill, goKill)
HANDLE_FUNCTION(handle_expire, goExpire)
HANDLE_FUNCTION(handle_pause, goPause)
HANDLE_FUNCTION(handle_resume, goResume)
HANDLE_FUNCTION(handle_executed, goExecuted)

API int sandlock_handle_signal(sandlock_handle_t *h, int sig)
{
	ENTER(-1);
	return goSignal(h, sig);
}

API int sandlock_handle_execfd(const sandlock_handle_t *h)
{
	ENTER(-1);
	return goExecFD((sandlock_handle_t *)h);
}

API char *sandlock_handle_port_mappings(const sandlock_handle_t *h)
{
	ENTER(NULL);
	return goPortMappings((sandlock_handle_t *)h);
}

API int32_t sandlock_handle_pid(const sandlock_handle_t *h)
{
	ENTER(0);
	return goPid((sandlock_handle_t *)h);
}

API int sandlock_handle_pollfd(const sandlock_handle_t *h)
{
	ENTER(-1);
	return goPollFD((sandlock_handle_t *)h);
}

API int sandlock_handle_stepfd(const sandlock_handle_t *h)
{
	ENTER(-1);
	return goStepFD((sandlock_handle_t *)h);
}

API sandlock_result_t *sandlock_handle_wait(sandlock_handle_t *h)
{
	ENTER(NULL);
	return goWait(h, 0);
}

API sandlock_result_t *sandlock_handle_wait_timeout(sandlock_handle_t *h, uint64_t timeout_ms)
{
	ENTER(NULL);
	return goWait(h, timeout_ms);
}

API int sandlock_handle_result(sandlock_handle_t *h, uint64_t timeout_ms, sandlock_result_t **out)
{
	if (!out)
		return -1;
	*out = NULL;
	ENTER(-1);
	*out = goWait(h, timeout_ms);
	return *out ? 0 : -1;
}

API void sandlock_handle_free(sandlock_handle_t *h)
{
	ENTER();
	goHandleFree(h);
}

/* ---- the library and the kernel ---- */

API const char *sandlock_last_error(void) { return sl_last_error(); }
API int sandlock_last_errno(void) { return sl_last_errno(); }
API void sandlock_string_free(char *s) { free(s); }
API void sandlock_callbacks_while(int (*alive)(void)) { sl_callbacks_while(alive); }

API const char *sandlock_version(void) { return "0.1.0"; }
API uint32_t sandlock_abi_version(void) { return 0; }
API int sandlock_min_landlock_abi(void) { return 6; }

API char *sandlock_kernel_report(void)
{
	ENTER(NULL);
	return goKernelReport();
}

API int sandlock_landlock_abi_version(void)
{
	ENTER(-1);
	return goLandlockABI();
}

API uint32_t sandlock_protection_min_abi(uint32_t protection)
{
	ENTER(0);
	return goProtectionMinABI(protection);
}

API int64_t sandlock_syscall_nr(const char *name)
{
	ENTER(-1);
	return goSyscallNr((char *)name);
}
