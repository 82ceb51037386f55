#include "callback.h"

int32_t sl_decide(sandlock_policy_fn_t fn, sandlock_policy_callback_t callback, const sandlock_event_t *event,
                  sandlock_ctx_t *ctx, void *user_data)
{
	int32_t verdict = -1;

	if (fn)
		return fn(event, ctx, user_data);
	callback(user_data, event, ctx, &verdict);
	return verdict;
}

void sl_drop(sl_drop_t drop, void *user_data) { drop(user_data); }
