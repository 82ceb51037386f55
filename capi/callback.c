#include "callback.h"

#include <stdatomic.h>
#include <unistd.h>

#include "host.h"

static int (*_Atomic alive)(void);

void sl_callbacks_while(int (*f)(void)) { atomic_store(&alive, f); }

static bool may_call(void)
{
	int (*f)(void) = atomic_load(&alive);

	return f == NULL || f() != 0;
}

int32_t sl_decide(sandlock_policy_fn_t fn, sandlock_policy_callback_t callback, const sandlock_event_t *event,
                  sandlock_ctx_t *ctx, void *user_data)
{
	int32_t verdict = -1;

	if (!may_call())
		return verdict;
	if (fn)
		verdict = fn(event, ctx, user_data);
	else
		callback(user_data, event, ctx, &verdict);
	/* A child that the callback has forked would go on into Go, without its threads. */
	if (!sl_enter())
		_exit(1);
	return verdict;
}

void sl_drop(sl_drop_t drop, void *user_data)
{
	if (may_call())
		drop(user_data);
}
