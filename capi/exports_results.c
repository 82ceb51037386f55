/* The public symbols of pipelines and of results: see exports.c. */
#include "../include/sandlock.h"

#include <string.h>

#include "_cgo_export.h"
#include "exports.h"
#include "fields.h"

/* ---- pipelines ---- */

API sandlock_pipeline_t *sandlock_pipeline_new(void)
{
	ENTER(NULL);
	return goTogetherNew(false);
}

API void sandlock_pipeline_add_stage(sandlock_pipeline_t *pipe, const sandlock_sandbox_t *policy,
                                     const char *const *argv, unsigned int argc)
{
	ENTER();
	goTogetherAdd(pipe, false, NULL, (sandlock_sandbox_t *)policy, (char **)argv, argc);
}

API sandlock_result_t *sandlock_pipeline_run(sandlock_pipeline_t *pipe, uint64_t timeout_ms)
{
	ENTER(NULL);
	return goTogetherRun(pipe, false, timeout_ms);
}

API void sandlock_pipeline_free(sandlock_pipeline_t *pipe)
{
	ENTER();
	goTogetherFree(pipe, false);
}

API sandlock_gather_t *sandlock_gather_new(void)
{
	ENTER(NULL);
	return goTogetherNew(true);
}

API void sandlock_gather_add_source(sandlock_gather_t *g, const char *name, const sandlock_sandbox_t *policy,
                                    const char *const *argv, unsigned int argc)
{
	ENTER();
	goTogetherAdd(g, true, (char *)name, (sandlock_sandbox_t *)policy, (char **)argv, argc);
}

API void sandlock_gather_set_consumer(sandlock_gather_t *g, const sandlock_sandbox_t *policy, const char *const *argv,
                                      unsigned int argc)
{
	ENTER();
	goTogetherConsumer(g, (sandlock_sandbox_t *)policy, (char **)argv, argc);
}

API sandlock_result_t *sandlock_gather_run(sandlock_gather_t *g, uint64_t timeout_ms)
{
	ENTER(NULL);
	return goTogetherRun(g, true, timeout_ms);
}

API void sandlock_gather_free(sandlock_gather_t *g)
{
	ENTER();
	goTogetherFree(g, true);
}

API uint32_t sandlock_result_stages_len(const sandlock_result_t *r)
{
	ENTER(0);
	return goResultStages((sandlock_result_t *)r);
}

API const sandlock_result_t *sandlock_result_stage(const sandlock_result_t *r, uint32_t i)
{
	ENTER(NULL);
	return goResultStage((sandlock_result_t *)r, i);
}

/* ---- results ---- */

API int sandlock_result_exit_code(const sandlock_result_t *r)
{
	ENTER(-1);
	return goResultExitCode((sandlock_result_t *)r);
}

API sandlock_exit_reason sandlock_result_reason(const sandlock_result_t *r)
{
	ENTER(SANDLOCK_KILLED);
	return goResultReason((sandlock_result_t *)r);
}

API int sandlock_result_signal(const sandlock_result_t *r)
{
	ENTER(-1);
	return goResultSignal((sandlock_result_t *)r);
}

API bool sandlock_result_success(const sandlock_result_t *r)
{
	ENTER(false);
	return goResultExitCode((sandlock_result_t *)r) == 0;
}

API const uint8_t *sandlock_result_stdout_bytes(const sandlock_result_t *r, uintptr_t *len)
{
	if (len)
		*len = 0;
	ENTER(NULL);
	return goResultBytes((sandlock_result_t *)r, STREAM_STDOUT, len);
}

API const uint8_t *sandlock_result_stderr_bytes(const sandlock_result_t *r, uintptr_t *len)
{
	if (len)
		*len = 0;
	ENTER(NULL);
	return goResultBytes((sandlock_result_t *)r, STREAM_STDERR, len);
}

API char *sandlock_result_stdout(const sandlock_result_t *r)
{
	ENTER(NULL);
	return goResultText((sandlock_result_t *)r, STREAM_STDOUT);
}

API char *sandlock_result_stderr(const sandlock_result_t *r)
{
	ENTER(NULL);
	return goResultText((sandlock_result_t *)r, STREAM_STDERR);
}

API int sandlock_result_usage(const sandlock_result_t *r, sandlock_usage_t *usage, size_t size)
{
	sandlock_usage_t all;

	ENTER(-1);
	if (!usage || size > sizeof all || goResultUsage((sandlock_result_t *)r, &all) < 0)
		return -1;
	memcpy(usage, &all, size);
	return 0;
}

API uint32_t sandlock_result_truncated(const sandlock_result_t *r)
{
	ENTER(0);
	return goResultTruncated((sandlock_result_t *)r);
}

API const char *sandlock_result_error(const sandlock_result_t *r)
{
	ENTER(NULL);
	return (const char *)goResultBytes((sandlock_result_t *)r, STREAM_ERROR, NULL);
}

API const char *sandlock_result_log(const sandlock_result_t *r)
{
	ENTER(NULL);
	return (const char *)goResultBytes((sandlock_result_t *)r, STREAM_LOG, NULL);
}

API const char *sandlock_result_execs(const sandlock_result_t *r)
{
	ENTER(NULL);
	return (const char *)goResultBytes((sandlock_result_t *)r, STREAM_EXECS, NULL);
}

API const char *sandlock_result_audit(const sandlock_result_t *r)
{
	ENTER(NULL);
	return (const char *)goResultBytes((sandlock_result_t *)r, STREAM_AUDIT, NULL);
}

API const char *sandlock_result_denials(const sandlock_result_t *r)
{
	ENTER(NULL);
	return (const char *)goResultBytes((sandlock_result_t *)r, STREAM_DENIALS, NULL);
}

API uint64_t sandlock_result_denials_dropped(const sandlock_result_t *r)
{
	ENTER(0);
	return goResultDenialsDropped((sandlock_result_t *)r);
}

API void sandlock_result_free(sandlock_result_t *r)
{
	ENTER();
	goResultFree(r);
}
