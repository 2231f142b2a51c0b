// SPDX-License-Identifier: MIT
/* The compiler's back half on graphs made by hand: what costs nothing, what is refused, and streams that have been damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "graph_util.h"

static unsigned count_packets(const struct mica_compiled *c, unsigned core, int opcode)
{
	unsigned n = 0;

	for (size_t at = 0; at < c->stream_size[core];) {
		const union mica_pkt *p = (const union mica_pkt *)(c->stream[core] + at);

		n += p->hdr.opcode == opcode;
		at += (size_t)p->hdr.units * MICA_PKT_ALIGN;
	}
	return n;
}

static void layout_changes_at_the_borders_cost_no_packet(void **state)
{
	struct mica_compiled c;
	struct gen t;

	(void)state;
	hand_two_convs(&t, 16, 16);
	hand_compile(&t, 1 << 20, 1, &c);
	assert_int_equal(count_packets(&c, 0, MICA_OP_COPY), 2);	/* load and store */
	assert_int_equal(count_packets(&c, 0, MICA_OP_CONV), 2);
	assert_int_equal(c.arena_size, 0);
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

static void concatenation_and_slices_of_channels_are_free_in_lmem(void **state)
{
	struct ir_value *x, *in[2], *y, *s;
	struct mica_compiled c;
	struct gen t;
	struct ir_op *op;

	(void)state;
	hand_begin(&t, MICA_E4M3);
	x = hand_conv(&t, "a", hand_transpose(&t, hand_input(&t, 1, 3, 16, 16), hand_to_nhwc), 16, 3);
	in[0] = hand_conv(&t, "b", x, 24, 1);
	in[1] = hand_conv(&t, "c", x, 8, 1);
	y = ir_value_new(t.g, NULL, MICA_E4M3, 4, (int64_t[]){ 1, 16, 16, 32 });
	gen_op(&t, IR_CONCAT, in, 2, y)->a.axis = 3;
	s = ir_value_new(t.g, NULL, MICA_E4M3, 4, (int64_t[]){ 1, 16, 16, 12 });
	op = gen_op(&t, IR_SLICE, &y, 1, s);
	op->a.start[3] = 16;
	for (int i = 0; i < 4; i++)
		op->a.step[i] = 1;
	hand_output(&t, hand_conv(&t, "d", s, 16, 1));
	hand_output(&t, hand_conv(&t, "e", y, 16, 1));
	hand_compile(&t, 1 << 20, 1, &c);
	assert_int_equal(count_packets(&c, 0, MICA_OP_COPY), 3);	/* one input, two outputs */
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

static void what_fits_nowhere_is_refused_by_name(void **state)
{
	struct mica_compile_options o = { .cores = 1, .lmem = 16384, .format = MICA_E4M3 };
	struct mica_compiled c;
	struct gen t;

	(void)state;
	hand_begin(&t, MICA_F32);
	hand_output(&t, hand_conv(&t, "the_large_one", hand_input(&t, 1, 3, 3, 2000), 16, 3));
	assert_int_equal(mica_backend_compile(t.g, &o, &c), -MICA_ERR_MEMORY);
	assert_non_null(strstr(t.err.text, "the_large_one"));
	assert_non_null(strstr(t.err.text, "Conv"));
	assert_non_null(strstr(t.err.text, "--lmem"));
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

static void checkpoints_stand_where_lmem_is_dead(void **state)
{
	struct mica_compiled c;
	struct gen t;
	unsigned barriers = 0;

	(void)state;
	hand_two_convs(&t, 96, 64);
	hand_compile(&t, 128 << 10, 1, &c);
	assert_true(c.arena_size > 0);
	for (size_t at = 0; at < c.stream_size[0];) {
		const union mica_pkt *p = (const union mica_pkt *)(c.stream[0] + at);

		barriers += p->hdr.opcode == MICA_OP_BARRIER && (p->ctl.flags & MICA_BARRIER_CHECKPOINT);
		at += (size_t)p->hdr.units * MICA_PKT_ALIGN;
	}
	assert_int_equal(barriers, 1);
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

/* ---- the verifier refuses streams that have been damaged ---- */

static void verifier_misses_no_dropped_wait_that_matters(void **state)
{
	unsigned dropped = 0, caught = 0;
	struct mica_compiled c;
	struct gen t;

	(void)state;
	hand_two_convs(&t, 64, 32);
	hand_compile(&t, 64 << 10, 1, &c);
	for (size_t at = 0; at < c.stream_size[0];) {
		union mica_pkt *p = (union mica_pkt *)(c.stream[0] + at);

		for (unsigned e = 0; e < MICA_ENGINE_COUNT; e++) {
			uint32_t wait = p->hdr.wait[e];

			if (!wait)
				continue;
			p->hdr.wait[e] = 0;
			dropped++;
			caught += be_verify(&c, &t.err) != 0;
			memset(&t.err, 0, sizeof(t.err));
			p->hdr.wait[e] = wait;
		}
		at += (size_t)p->hdr.units * MICA_PKT_ALIGN;
	}
	assert_int_equal(be_verify(&c, &t.err), 0);
	print_message("%u waits dropped, %u caught\n", dropped, caught);
	assert_true(dropped > 20);
	assert_true(caught * 10 >= dropped * 9);	/* a few are implied by others */
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

static void verifier_catches_cores_that_no_longer_meet(void **state)
{
	unsigned barriers = 0, caught = 0;
	struct mica_compiled c;
	struct gen t;

	(void)state;
	hand_two_convs(&t, 64, 32);
	hand_compile(&t, 1 << 20, 2, &c);
	barriers = count_packets(&c, 0, MICA_OP_BARRIER);
	assert_true(barriers > 0);
	for (unsigned b = 0; b < barriers; b++) {
		struct mica_compiled cut = c;

		for (unsigned core = 0; core < 2; core++) {	/* the same without the b-th barrier */
			size_t to = 0;
			unsigned seen = 0;

			cut.stream[core] = aligned_alloc(64, c.stream_size[core]);
			for (size_t at = 0; at < c.stream_size[core];) {
				union mica_pkt *p = (union mica_pkt *)(c.stream[core] + at);
				size_t size = (size_t)p->hdr.units * MICA_PKT_ALIGN;

				at += size;
				if (p->hdr.opcode == MICA_OP_BARRIER && seen++ == b)
					continue;
				memcpy(cut.stream[core] + to, p, size);
				to += size;
			}
			cut.stream_size[core] = to;
		}
		caught += be_verify(&cut, &t.err) != 0;
		memset(&t.err, 0, sizeof(t.err));
		free(cut.stream[0]);
		free(cut.stream[1]);
	}
	assert_int_equal(caught, barriers);
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

static void verifier_catches_reads_of_what_nobody_wrote(void **state)
{
	struct mica_compiled c;
	struct gen t;
	union mica_pkt *p;

	(void)state;
	hand_two_convs(&t, 16, 16);
	hand_compile(&t, 1 << 20, 1, &c);
	p = (union mica_pkt *)c.stream[0];
	assert_int_equal(p->hdr.opcode, MICA_OP_COPY);
	p->copy.dim[2]--;		/* a pixel less is loaded */
	assert_int_equal(be_verify(&c, &t.err), -MICA_ERR_INTERNAL);
	assert_non_null(strstr(t.err.text, "nobody has written"));
	mica_compiled_fini(&c);
	ir_graph_free(t.g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_changes_at_the_borders_cost_no_packet),
		cmocka_unit_test(concatenation_and_slices_of_channels_are_free_in_lmem),
		cmocka_unit_test(what_fits_nowhere_is_refused_by_name),
		cmocka_unit_test(checkpoints_stand_where_lmem_is_dead),
		cmocka_unit_test(verifier_misses_no_dropped_wait_that_matters),
		cmocka_unit_test(verifier_catches_cores_that_no_longer_meet),
		cmocka_unit_test(verifier_catches_reads_of_what_nobody_wrote),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
