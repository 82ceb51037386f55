/* What programs rely on: a declaration that differs from the header's is an error of
 * the compiler, and so is an array of negative size. Never linked. */
#include <sandlock.h>

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define ASSERT(x) typedef char JOIN(assert_, __LINE__)[(x) ? 1 : -1] __attribute__((unused))
/* A pointer to the field has to be a pointer to type, to the const. */
#define FIELD(s, field, type, offset)            \
	ASSERT(offsetof(s, field) == (offset)); \
	type *field_##field(s *p);               \
	type *field_##field(s *p) { return &p->field; }

/* ---- layout, LP64 ---- */

ASSERT(sizeof(void *) == 8 && sizeof(long) == 8);
FIELD(sandlock_event_t, syscall, const char *, 0)
FIELD(sandlock_event_t, category, uint8_t, 8)
FIELD(sandlock_event_t, pid, uint32_t, 12)
FIELD(sandlock_event_t, parent_pid, uint32_t, 16)
FIELD(sandlock_event_t, host, const char *, 24)
FIELD(sandlock_event_t, port, uint16_t, 32)
FIELD(sandlock_event_t, denied, bool, 34)
FIELD(sandlock_event_t, argv, const char *const *, 40)
FIELD(sandlock_event_t, argc, uint32_t, 48)
ASSERT(sizeof(sandlock_event_t) == 56);

/* ---- values ---- */

ASSERT(sizeof(sandlock_exit_reason) == 4);
ASSERT(SANDLOCK_EXITED == 0 && SANDLOCK_SIGNALED == 1 && SANDLOCK_KILLED == 2 && SANDLOCK_TIMEOUT == 3);
ASSERT(SANDLOCK_CATEGORY_FILE == 0 && SANDLOCK_CATEGORY_NETWORK == 1);
ASSERT(SANDLOCK_CATEGORY_PROCESS == 2 && SANDLOCK_CATEGORY_MEMORY == 3);
ASSERT(SANDLOCK_PROTECTION_FS_REFER == 0 && SANDLOCK_PROTECTION_FS_TRUNCATE == 1);
ASSERT(SANDLOCK_PROTECTION_NET_TCP == 2 && SANDLOCK_PROTECTION_FS_IOCTL_DEV == 3);
ASSERT(SANDLOCK_PROTECTION_SIGNAL_SCOPE == 4 && SANDLOCK_PROTECTION_ABSTRACT_UNIX_SOCKET_SCOPE == 5);
ASSERT(SANDLOCK_TRUNCATED_STDOUT == 1 && SANDLOCK_TRUNCATED_STDERR == 2);

/* ---- signatures ---- */

#define B sandlock_builder_t *
#define SETTER(name, ...) B sandlock_sandbox_builder_##name(B b, __VA_ARGS__)

typedef int32_t (*policy_fn)(const sandlock_event_t *, sandlock_ctx_t *, void *);
typedef void (*policy_callback)(void *, const sandlock_event_t *, sandlock_ctx_t *, int32_t *);

B sandlock_sandbox_builder_new(void);
SETTER(json, const char *, size_t);
SETTER(fs_read, const char *);
SETTER(fs_write, const char *);
SETTER(fs_exec, const char *);
SETTER(fs_deny, const char *);
SETTER(unix_allow, const char *);
SETTER(cwd, const char *);
SETTER(net_allow, const char *);
SETTER(net_deny, const char *);
SETTER(net_allow_bind, const char *);
SETTER(net_deny_bind, const char *);
SETTER(net_allow_private_names, bool);
SETTER(port_remap, bool);
SETTER(clean_env, bool);
SETTER(env_var, const char *, const char *);
SETTER(max_processes, uint32_t);
SETTER(max_memory, uint64_t);
SETTER(max_cpu, uint8_t);
SETTER(num_cpus, uint32_t);
SETTER(gpu_devices, const uint32_t *, uint32_t);
SETTER(max_open_files, unsigned int);
SETTER(max_output, uint64_t);
SETTER(cpu_cores, const uint32_t *, uint32_t);
SETTER(no_coredump, bool);
SETTER(no_huge_pages, bool);
SETTER(no_randomize_memory, bool);
SETTER(extra_deny_syscalls, const char *);
SETTER(extra_allow_syscalls, const char *);
SETTER(allow_degraded, uint32_t);
SETTER(disable, uint32_t);
SETTER(policy_fn, policy_fn, void *, void (*)(void *));
SETTER(policy_callback, policy_callback, void *, void (*)(void *));
SETTER(policy_events, const char *);
SETTER(policy_timeout, uint64_t);
SETTER(argv_safety, int);
SETTER(record_execs, bool);
SETTER(record_denials, bool);

void sandlock_ctx_restrict_network(sandlock_ctx_t *, const char *const *, uint32_t);
void sandlock_ctx_grant_network(sandlock_ctx_t *, const char *const *, uint32_t);
void sandlock_ctx_restrict_max_memory(sandlock_ctx_t *, uint64_t);
void sandlock_ctx_restrict_max_processes(sandlock_ctx_t *, uint32_t);
void sandlock_ctx_restrict_pid_network(sandlock_ctx_t *, uint32_t, const char *const *, uint32_t);
void sandlock_ctx_deny_path(sandlock_ctx_t *, const char *);
void sandlock_ctx_allow_path(sandlock_ctx_t *, const char *);

sandlock_sandbox_t *sandlock_sandbox_build(B, int *, char **);
sandlock_sandbox_t *sandlock_sandbox_from_json(const char *, size_t, int *, char **);
void sandlock_sandbox_free(sandlock_sandbox_t *);
char *sandlock_sandbox_explain(const sandlock_sandbox_t *);

#define COMMAND const sandlock_sandbox_t *, const char *, const char *const *, unsigned int
int sandlock_confine(const sandlock_sandbox_t *policy);
sandlock_result_t *sandlock_run(COMMAND);
int sandlock_run_interactive(COMMAND);
sandlock_handle_t *sandlock_create(COMMAND);
sandlock_handle_t *sandlock_create_for_run(COMMAND);
sandlock_handle_t *sandlock_spawn(COMMAND, int, uint32_t, sandlock_handle_t **);
sandlock_handle_t *sandlock_spawn_files(const sandlock_sandbox_t *, const char *, const char *, const char *const *, unsigned int, const sandlock_file_t *, uint32_t, uint32_t, sandlock_handle_t **);
sandlock_handle_t *sandlock_popen(COMMAND, uint32_t, uint32_t, uint32_t, int *, int *, int *);
int sandlock_handle_execfd(const sandlock_handle_t *);
int sandlock_handle_executed(sandlock_handle_t *);
int sandlock_handle_signal(sandlock_handle_t *, int);
int sandlock_start(sandlock_handle_t *);
int32_t sandlock_handle_pid(const sandlock_handle_t *);
char *sandlock_handle_port_mappings(const sandlock_handle_t *);
int sandlock_handle_stepfd(const sandlock_handle_t *);
int sandlock_handle_step(sandlock_handle_t *);
int sandlock_handle_pollfd(const sandlock_handle_t *);
int sandlock_handle_kill(sandlock_handle_t *);
int sandlock_handle_pause(sandlock_handle_t *);
int sandlock_handle_resume(sandlock_handle_t *);
sandlock_result_t *sandlock_handle_wait(sandlock_handle_t *);
sandlock_result_t *sandlock_handle_wait_timeout(sandlock_handle_t *, uint64_t);
int sandlock_handle_result(sandlock_handle_t *, uint64_t, sandlock_result_t **);
void sandlock_handle_free(sandlock_handle_t *);

sandlock_pipeline_t *sandlock_pipeline_new(void);
void sandlock_pipeline_add_stage(sandlock_pipeline_t *, const sandlock_sandbox_t *, const char *const *, unsigned int);
sandlock_result_t *sandlock_pipeline_run(sandlock_pipeline_t *, uint64_t);
void sandlock_pipeline_free(sandlock_pipeline_t *);
sandlock_gather_t *sandlock_gather_new(void);
void sandlock_gather_add_source(sandlock_gather_t *, const char *, const sandlock_sandbox_t *, const char *const *, unsigned int);
void sandlock_gather_set_consumer(sandlock_gather_t *, const sandlock_sandbox_t *, const char *const *, unsigned int);
sandlock_result_t *sandlock_gather_run(sandlock_gather_t *, uint64_t);
void sandlock_gather_free(sandlock_gather_t *);
uint32_t sandlock_result_stages_len(const sandlock_result_t *);
const sandlock_result_t *sandlock_result_stage(const sandlock_result_t *, uint32_t);

int sandlock_result_exit_code(const sandlock_result_t *);
sandlock_exit_reason sandlock_result_reason(const sandlock_result_t *);
int sandlock_result_signal(const sandlock_result_t *);
bool sandlock_result_success(const sandlock_result_t *);
char *sandlock_result_stdout(const sandlock_result_t *);
char *sandlock_result_stderr(const sandlock_result_t *);
const uint8_t *sandlock_result_stdout_bytes(const sandlock_result_t *, uintptr_t *);
const uint8_t *sandlock_result_stderr_bytes(const sandlock_result_t *, uintptr_t *);
uint32_t sandlock_result_truncated(const sandlock_result_t *);
const char *sandlock_result_error(const sandlock_result_t *);
const char *sandlock_result_log(const sandlock_result_t *);
const char *sandlock_result_execs(const sandlock_result_t *);
const char *sandlock_result_audit(const sandlock_result_t *);
const char *sandlock_result_denials(const sandlock_result_t *);
uint64_t sandlock_result_denials_dropped(const sandlock_result_t *);
void sandlock_result_free(sandlock_result_t *);

const char *sandlock_last_error(void);
int sandlock_last_errno(void);
void sandlock_string_free(char *);
void sandlock_callbacks_while(int (*alive)(void));
const char *sandlock_version(void);
uint32_t sandlock_abi_version(void);
char *sandlock_kernel_report(void);
int sandlock_landlock_abi_version(void);
int sandlock_min_landlock_abi(void);
uint32_t sandlock_protection_min_abi(uint32_t);
int64_t sandlock_syscall_nr(const char *);
