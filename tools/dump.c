// SPDX-License-Identifier: MIT
/* mica dump: a compiled model as text. */
#include "cli.h"
#include "engine.h"

static int dump_streams(const struct mica_model *m, const struct mica_model_info *info, unsigned phase)
{
	char line[1024];

	for (unsigned core = 0; core < info->cores; core++) {
		const void *commands;
		size_t size, at = 0;

		mica_model_phase_stream(m, phase, core, &commands, &size);
		if (!size)
			continue;
		printf("core %u, %zu bytes\n", core, size);
		while (at < size) {
			const union mica_pkt *p = (const void *)((const uint8_t *)commands + at);
			size_t bytes = p->hdr.units * (size_t)MICA_PKT_ALIGN;
			struct mica_layer_info layer;

			if (!bytes || bytes > size - at || bytes > sizeof(*p))
				return cli_fail(MICA_ERR_CORRUPT, "core %u, offset 0x%zx: a packet of %zu bytes", core, at, bytes);
			mica_disasm(line, sizeof(line), p);
			if (mica_model_layer(m, p->hdr.layer, &layer))
				layer.name = "?";
			printf("0x%06zx  %s  # %s\n", at, line, layer.name);
			at += bytes;
		}
	}
	return 0;
}

static void peak_line(const char *what, uint64_t bytes, uint64_t best_fit, const char *note)
{
	printf("  %-44s %12llu", what, (unsigned long long)bytes);
	if (best_fit)
		printf("  %+6.1f %%", 100.0 * ((double)bytes - (double)best_fit) / (double)best_fit);
	printf("%s%s\n", note ? "  " : "", note ? note : "");
}

static double percent(uint64_t before, uint64_t after)
{
	return before ? 100.0 * ((double)after - (double)before) / (double)before : 0;
}

/* What each step of the compiler was worth, one after another. */
static void dump_savings(const struct mica_model *m, const struct mica_memory_info *mem)
{
	printf("Steps that lower the peak (all intermediate values in DRAM; residency: those that LMEM does not hold):\n"
	       "  step             before        after        share     MACs\n");
	for (unsigned i = 0; i < mem->savings; i++) {
		struct mica_saving_info s;

		mica_model_saving(m, i, &s);
		printf("  %-10s %12llu %12llu %12lld  %+5.2f %%", s.name, (unsigned long long)s.peak_before, (unsigned long long)s.peak_after,
		       (long long)s.peak_before - (long long)s.peak_after, percent(s.macs_before, s.macs_after));
		if (s.cycles_before && s.cycles_after && (s.cycles_before != s.cycles_after || s.arena_before != s.arena_after))
			printf("  arena %llu to %llu, cycles %+.2f %%", (unsigned long long)s.arena_before, (unsigned long long)s.arena_after,
			       percent(s.cycles_before, s.cycles_after));
		puts(!s.on ? "  left out" : s.taken ? "" : s.peak_before == s.peak_after ? "  nothing to gain" : "  not taken: does not pay");
	}
}

/* The plan beside what other planners need for the same model. */
static void dump_comparison(const struct mica_model *m, const struct mica_model_info *info)
{
	struct mica_memory_info mem;

	mica_model_get_memory(m, &mem);
	if (mem.unfused_buffers) {
		uint64_t best = mem.unfused_best_fit;

		printf("Bytes of DRAM for intermediate values (beside size-ordered best fit):\n"
		       " unfused graph in file order, %u buffers\n", mem.unfused_buffers);
		peak_line("no reuse", mem.unfused_no_reuse, best, NULL);
		peak_line("first fit in order of creation", mem.unfused_first_fit, best, NULL);
		peak_line("size-ordered best fit", best, best, NULL);
		peak_line("this compiler's planner", mem.unfused_planned, best, NULL);
		peak_line("lower bound", mem.unfused_lower_bound, best, NULL);
		printf(" compiled graph\n");
		peak_line("all in DRAM", mem.all_peak, best, NULL);
		peak_line("all in DRAM, lower bound", mem.all_lower_bound, best, NULL);
		peak_line("as compiled: the arena, beside LMEM", info->arena_peak, best, NULL);
		peak_line("as compiled, lower bound", info->arena_lower_bound, best, NULL);
	}
	if (mem.savings)
		dump_savings(m, &mem);
}

static void dump_host_steps(const struct mica_model *m, unsigned phase)
{
	for (unsigned i = 0; i < mica_model_phase_host_steps(m, phase); i++) {
		struct mica_host_step_info s;
		struct mica_layer_info layer;

		mica_model_host_step(m, phase, i, &s);
		mica_model_layer(m, s.layer, &layer);
		printf("%s  # %s, %llu bytes\n", s.text, layer.name, (unsigned long long)s.bytes);
	}
}

static int dump_commands(const struct mica_model *m, const struct mica_model_info *info)
{
	int ret = 0;

	for (unsigned k = 0; k < info->phases && !ret; k++) {
		if (info->host_steps)
			printf("phase %u\n", k);
		ret = dump_streams(m, info, k);
		dump_host_steps(m, k);
	}
	return ret;
}

static int dump_memory(const struct mica_model *m, const struct mica_model_info *info)
{
	printf("DRAM arena: peak %llu, lower bound %llu (gap %.1f %%), without reuse %llu bytes\n", (unsigned long long)info->arena_peak,
	       (unsigned long long)info->arena_lower_bound,
	       info->arena_lower_bound ? 100.0 * (info->arena_peak - info->arena_lower_bound) / info->arena_lower_bound : 0.0,
	       (unsigned long long)info->arena_no_reuse);
	printf("LMEM: peak %llu, lower bound %llu, size %u bytes\n", (unsigned long long)info->lmem_peak,
	       (unsigned long long)info->lmem_lower_bound, info->lmem_size);
	dump_comparison(m, info);
	printf("space   layers       offset       size  name\n");
	for (unsigned i = 0; i < info->plan_entries; i++) {
		struct mica_plan_info e;

		mica_model_plan_entry(m, i, &e);
		printf("%-5s %4u..%-4u %10llu %10llu  %s\n", e.space ? "lmem" : "arena", e.first, e.last, (unsigned long long)e.offset,
		       (unsigned long long)e.size, e.name);
	}
	return 0;
}

static void dump_host_costs(const struct mica_model *m, unsigned phase)
{
	for (unsigned i = 0; i < mica_model_phase_host_steps(m, phase); i++) {
		struct mica_host_step_info s;
		struct mica_layer_info l;

		mica_model_host_step(m, phase, i, &s);
		mica_model_layer(m, s.layer, &l);
		printf("%4u  %-18s %-6s %12llu bytes  %s\n", s.layer, s.name, "host", (unsigned long long)s.bytes, l.name);
	}
}

static bool has_job(const struct mica_model *m, unsigned phase, unsigned cores)
{
	const void *commands;
	size_t size = 0;

	for (unsigned core = 0; core < cores && !size; core++)
		mica_model_phase_stream(m, phase, core, &commands, &size);
	return size;
}

static void dump_phase(const struct mica_model *m, unsigned phase, unsigned cores)
{
	bool host = mica_model_phase_host_steps(m, phase);

	printf("phase %u: %s\n", phase, has_job(m, phase, cores) ? host ? "a job, then on the host" : "a job" : "on the host");
}

static int dump_layers(const struct mica_model *m, const struct mica_model_info *info)
{
	printf("%s: %s, %u cores, %u layers, %.1f MMAC\n", info->name, info->format, info->cores, info->layers, info->macs / 1e6);
	for (unsigned i = 0; i < info->layers; i++) {
		struct mica_layer_info l;

		mica_model_layer(m, i, &l);
		printf("%4u  %-18s %-6s %12llu MAC  %s\n", i, l.op, l.format, (unsigned long long)l.macs, l.name);
	}
	for (unsigned k = 0; k < info->phases; k++) {
		if (info->host_steps)
			dump_phase(m, k, info->cores);
		dump_host_costs(m, k);
	}
	return 0;
}

struct dump_args {
	const char *model;
	bool commands, memory, graph;
};

static const struct cli_opt own[] = {
	CLI_FLAG("commands", struct dump_args, commands),
	CLI_FLAG("memory", struct dump_args, memory),
	CLI_FLAG("graph", struct dump_args, graph),
	{ 0 }
};

static int run(int argc, char **argv)
{
	struct dump_args a = { 0 };
	const struct cli_group groups[] = { CLI_GROUP(own, &a), { 0 } };
	struct mica_model_info info;
	struct mica_model *m;
	int ret = cli_parse_one(&cmd_dump, argc, argv, groups, "MODEL.mica", &a.model);

	if (ret)
		return ret == CLI_HELP ? 0 : ret;
	if (a.commands + a.memory + a.graph > 1)
		return cli_fail(MICA_ERR_USAGE, "one of --commands, --memory and --graph at a time");
	ret = mica_model_load(NULL, a.model, &m);
	if (ret)
		return cli_sdk(ret);
	mica_model_get_info(m, &info);
	if (a.commands)
		ret = dump_commands(m, &info);
	else if (a.memory)
		ret = dump_memory(m, &info);
	else if (a.graph)
		ret = fputs(info.graph, stdout) < 0 ? MICA_ERR_FILE : 0;
	else
		ret = dump_layers(m, &info);
	mica_model_close(m);
	return ret;
}

const struct command cmd_dump = {
	"dump", "show what is in a compiled model", run,
	"MODEL.mica [--commands | --memory | --graph]\n\n"
	"  --commands                 the cores' command streams, disassembled\n"
	"  --memory                   the memory plan: what lives where and when\n"
	"  --graph                    the compiler's last intermediate representation\n"
	"Without an option: the list of layers.\n",
};
