// SPDX-License-Identifier: MIT
/*
 * What quantization costs and saves: the cycles of all packets by what they are for. Conversions that stand in the epilogue of
 * another operator take no cycles of their own; they are counted by elements.
 */
#include <stdlib.h>
#include <string.h>
#include "backend.h"
#include "cost.h"

static const char *const names[COST_PARTS] = {
	[COST_MACS] = "macs",		[COST_FUNCTIONS] = "functions",	  [COST_QUANTIZE] = "quantize",
	[COST_DEQUANTIZE] = "dequantize", [COST_REQUANTIZE] = "requantize", [COST_MOVES] = "moves",
};

const char *cost_name(unsigned part)
{
	return names[part];
}

static bool is_code(int dtype)
{
	return mica_dtype_size((enum mica_dtype)dtype) == 1;
}

/* From one format to another: which kind of conversion, or COST_FUNCTIONS for none. */
static enum cost_part conversion(int from, int to)
{
	if (is_code(from) && is_code(to))
		return COST_REQUANTIZE;
	return is_code(to) ? COST_QUANTIZE : is_code(from) ? COST_DEQUANTIZE : COST_FUNCTIONS;
}

static bool is_mac_packet(const union mica_pkt *p)
{
	return p->hdr.opcode == MICA_OP_CONV || p->hdr.opcode == MICA_OP_DWCONV || p->hdr.opcode == MICA_OP_MATMUL;
}

static enum cost_part part_of(const union mica_pkt *p)
{
	if (is_mac_packet(p))
		return COST_MACS;
	if (p->hdr.opcode == MICA_OP_COPY || p->hdr.opcode == MICA_OP_FILL)
		return COST_MOVES;
	if (p->hdr.opcode == MICA_OP_UNARY && p->unary.func == MICA_FN_COPY)
		return conversion(p->unary.src.dtype, p->unary.dst.dtype);
	return COST_FUNCTIONS;
}

/* What the epilogues convert on the way: accumulators to codes. */
static void count_epilogue(struct cost *c, const struct ir_op *op)
{
	const struct ir_value *y = op->out[0];

	if ((op->kind == IR_CONV || op->kind == IR_MATMUL) && is_code(y->dtype)) {
		c->epilogue += (uint64_t)ir_elements(y);
		c->residuals += ir_op_in(op, op->kind == IR_CONV ? 3 : 2) ? (uint64_t)ir_elements(y) : 0;
	}
}

void cost_account(const struct mica_compiled *m, struct cost *c)
{
	memset(c, 0, sizeof(*c));
	for (unsigned core = 0; core < m->cores; core++) {
		for (size_t at = 0; at < m->stream_size[core];) {
			const union mica_pkt *p = (const union mica_pkt *)(m->stream[core] + at);
			enum cost_part part = part_of(p);
			struct mica_cost packet;

			at += (size_t)p->hdr.units * MICA_PKT_ALIGN;
			if (p->hdr.opcode == MICA_OP_BARRIER || p->hdr.opcode == MICA_OP_END)
				continue;
			mica_pkt_cost(p, &mica_params_default, m->cores, &packet);
			c->cycles[part] += packet.cycles;
			c->packets[part]++;
		}
	}
	for (unsigned i = 0; i < m->state.steps; i++)
		count_epilogue(c, m->state.step[i].op);
}

void cost_json(FILE *f, const struct mica_compiled *m)
{
	struct cost c;

	cost_account(m, &c);
	fputs("  \"cost\": {", f);
	for (unsigned i = 0; i < COST_PARTS; i++)
		fprintf(f, "\"%s\": {\"cycles\": %llu, \"packets\": %u}, ", names[i], (unsigned long long)c.cycles[i], c.packets[i]);
	fprintf(f, "\"requantized_in_epilogues\": %llu, \"residuals_dequantized_in_epilogues\": %llu},\n",
		(unsigned long long)c.epilogue, (unsigned long long)c.residuals);
}

void cost_html(FILE *f, const struct mica_compiled *m)
{
	struct cost c;
	uint64_t total = 0;

	cost_account(m, &c);
	for (unsigned i = 0; i < COST_PARTS; i++)
		total += c.cycles[i];
	fputs("<h2>What the cycles are for</h2>\n<table><tr><th>part<th class=n>busy cycles<th class=n>share<th class=n>packets\n", f);
	for (unsigned i = 0; i < COST_PARTS; i++)
		fprintf(f, "<tr><td>%s<td class=n>%llu<td class=n>%.1f&nbsp;%%<td class=n>%u\n", names[i],
			(unsigned long long)c.cycles[i], total ? 100.0 * (double)c.cycles[i] / (double)total : 0, c.packets[i]);
	fprintf(f, "</table>\n<p>Busy cycles of all engines, which overlap. %llu accumulators became codes and %llu residuals became values in "
		"epilogues, which takes no cycles of its own.\n",
		(unsigned long long)c.epilogue, (unsigned long long)c.residuals);
}
