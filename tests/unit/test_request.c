/* The ledger's own bookkeeping: order, lookup by either id, reuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/request.h"

static struct request *add(struct ledger *l, const char *line)
{
	struct request *r = ledger_add(l, RQ_CLIENT, 5);
	struct rpc_msg m;

	assert_non_null(r);
	rpc_parse(line, strlen(line), &m);
	assert_int_equal(ledger_set_line(l, r, &m, NULL), 0);
	return r;
}

static struct request *add_id(struct ledger *l, unsigned id)
{
	char text[100];

	snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"x\"}", id);
	return add(l, text);
}

static void a_request_knows_the_members_of_its_line(void **state)
{
	struct ledger l;
	struct request *r;

	(void)state;
	assert_int_equal(ledger_init(&l, 1), 0);
	r = add(&l, "  {\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"tools/call\",\"params\":{\"name\":\"t\",\"_meta\":{\"progressToken\":9}}} ");
	assert_true(span_is(r->id, "\"a\"") && span_is(r->method, "tools/call") && span_is(r->tool, "\"t\"") && span_is(r->progress, "9"));
	assert_true(r->is_tool_call);
	assert_ptr_equal(r->id.p, memmem(buf_data(&r->line), r->line.len, "\"a\"", 3));
	r = add(&l, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/list\"}");
	assert_true(!r->is_tool_call && !r->tool.p && !r->progress.p && !r->params.p);
	ledger_fini(&l);
}

static void a_large_line_is_taken_and_not_copied(void **state)
{
	static const char text[] = "  {\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"x\"}  ";
	struct ledger l;
	struct request *r;
	struct rpc_msg m;
	struct buf big;
	const char *block;

	(void)state;
	assert_int_equal(ledger_init(&l, 1), 0);
	buf_init(&big, 1000);
	assert_int_equal(buf_puts(&big, text), 0);
	block = buf_data(&big);
	rpc_parse(block, big.len, &m);
	r = ledger_add(&l, RQ_CLIENT, 0);
	assert_int_equal(ledger_set_line(&l, r, &m, &big), 0);
	assert_null(big.mem);
	assert_ptr_equal(buf_data(&r->line), block + 2);
	assert_int_equal(r->line.len, sizeof(text) - 1 - 4);
	assert_true(span_is(r->id, "3"));
	assert_ptr_equal(ledger_by_client_id(&l, SPAN_LIT("3")), r);
	ledger_fini(&l);
}

static void ids_are_found_by_value_however_they_are_spelled(void **state)
{
	static const struct { const char *a, *b; bool same; } rows[] = {
		{ "1", "1", true }, { "1", "1.0", true }, { "100", "1e2", true }, { "1", "\"1\"", false }, { "\"a\"", "\"\\u0061\"", true }, { "1", "2", false },
	};
	struct ledger l;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char text[100];
		struct request *r;

		assert_int_equal(ledger_init(&l, 7), 0);
		snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"x\"}", rows[i].a);
		r = add(&l, text);
		assert_ptr_equal(ledger_by_client_id(&l, span_str(rows[i].b)), rows[i].same ? r : NULL);
		assert_int_equal(ledger_same_id(&l, span_str(rows[i].a), span_str(rows[i].b)), rows[i].same);
		ledger_fini(&l);
	}
}

static void an_upstream_id_can_change_and_the_old_one_finds_nothing(void **state)
{
	struct ledger l;
	struct request *r;

	(void)state;
	assert_int_equal(ledger_init(&l, 1), 0);
	r = add_id(&l, 5);
	assert_null(ledger_by_upstream_id(&l, SPAN_LIT("5")));
	ledger_set_upstream_id(&l, r, r->id);
	assert_ptr_equal(ledger_by_upstream_id(&l, SPAN_LIT("5")), r);
	ledger_set_upstream_id(&l, r, SPAN_LIT("\"ours\""));
	assert_null(ledger_by_upstream_id(&l, SPAN_LIT("5")));
	assert_ptr_equal(ledger_by_upstream_id(&l, SPAN_LIT("\"ours\"")), r);
	assert_ptr_equal(ledger_by_client_id(&l, SPAN_LIT("5")), r);
	ledger_remove(&l, r);
	assert_null(ledger_by_client_id(&l, SPAN_LIT("5")));
	assert_null(ledger_by_upstream_id(&l, SPAN_LIT("\"ours\"")));
	ledger_fini(&l);
}

static void thousands_come_and_go_in_order_of_arrival(void **state)
{
	struct ledger l;
	char id[20];
	unsigned n = 0;

	(void)state;
	assert_int_equal(ledger_init(&l, 3), 0);
	for (unsigned i = 0; i < 5000; i++) {
		struct request *r = add_id(&l, i);
		ledger_set_upstream_id(&l, r, r->id);
	}
	for (unsigned i = 0; i < 5000; i += 2) {
		snprintf(id, sizeof(id), "%u", i);
		ledger_remove(&l, ledger_by_client_id(&l, span_str(id)));
	}
	assert_int_equal(l.count, 2500);
	for (struct request *r = l.head; r; r = r->next, n++) {
		snprintf(id, sizeof(id), "%u", 2 * n + 1);
		assert_true(span_is(r->id, id));
		assert_ptr_equal(ledger_by_upstream_id(&l, span_str(id)), r);
		assert_true(!r->next || (r->next->prev == r && r->next->seq > r->seq && r->next->token > r->token));
	}
	assert_int_equal(n, 2500);
	assert_true(l.nfreed <= 2500);
	ledger_fini(&l);
}

static void a_request_used_again_remembers_nothing(void **state)
{
	struct ledger l;
	struct request *r;
	uint64_t token;

	(void)state;
	assert_int_equal(ledger_init(&l, 3), 0);
	r = add_id(&l, 1);
	token = r->token;
	r->attempts = 4;
	r->maybe_ran = r->cancelled = true;
	assert_false(seen_before(&r->seen, &r->nseen, SPAN_LIT("e"), 1));
	ledger_remove(&l, r);
	r = add_id(&l, 2);
	assert_true(r->token != token && r->attempts == 0 && !r->maybe_ran && !r->cancelled && !r->seen && r->retry_ms == -1 && !r->xfer);
	assert_int_equal(r->arrived, 5);
	ledger_fini(&l);
}

static void event_ids_are_remembered_up_to_a_bound(void **state)
{
	uint64_t *seen = NULL;
	unsigned n = 0;
	char id[20];

	(void)state;
	for (int i = 0; i < 3 * SEEN_EVENTS; i++) {
		snprintf(id, sizeof(id), "e%d", i);
		assert_false(seen_before(&seen, &n, span_str(id), 9));
		assert_true(seen_before(&seen, &n, span_str(id), 9));
	}
	assert_false(seen_before(&seen, &n, SPAN_LIT("e0"), 9));
	free(seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_knows_the_members_of_its_line),
		cmocka_unit_test(a_large_line_is_taken_and_not_copied),
		cmocka_unit_test(ids_are_found_by_value_however_they_are_spelled),
		cmocka_unit_test(an_upstream_id_can_change_and_the_old_one_finds_nothing),
		cmocka_unit_test(thousands_come_and_go_in_order_of_arrival),
		cmocka_unit_test(a_request_used_again_remembers_nothing),
		cmocka_unit_test(event_ids_are_remembered_up_to_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
