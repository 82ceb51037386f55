/* Go can't call a C function pointer; these can. */
#ifndef SANDLOCK_CALLBACK_H
#define SANDLOCK_CALLBACK_H

#include "../include/sandlock.h"

typedef void (*sl_drop_t)(void *user_data);

int32_t sl_decide(sandlock_policy_fn_t fn, sandlock_policy_callback_t callback, const sandlock_event_t *event,
                  sandlock_ctx_t *ctx, void *user_data);
void sl_drop(sl_drop_t drop, void *user_data);
/* Neither calls anything when this, unless it is NULL, returns 0. */
void sl_callbacks_while(int (*alive)(void));

#endif
