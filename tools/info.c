// SPDX-License-Identifier: MIT
/* mica info: what there is to run on, or what a model needs. */
#include "cli.h"
#include <unistd.h>

#define MAX_DEVICES 16

static json_object *device_json(const struct mica_device_info *d)
{
	json_object *o = json_object_new_object();
	char fw[32];

	snprintf(fw, sizeof(fw), "%u.%u.%u", d->fw_version >> 16, d->fw_version >> 8 & 0xff, d->fw_version & 0xff);
	json_object_object_add(o, "path", json_object_new_string(d->name));
	json_object_object_add(o, "cores", json_object_new_int(d->cores));
	json_object_object_add(o, "lmem_bytes", json_object_new_int64(d->lmem_size));
	json_object_object_add(o, "mac_rows", json_object_new_int(d->mac_rows));
	json_object_object_add(o, "mac_cols", json_object_new_int(d->mac_cols));
	json_object_object_add(o, "vector_lanes", json_object_new_int(d->vector_lanes));
	json_object_object_add(o, "dram_bytes_per_cycle", json_object_new_int(d->dram_bytes_per_cycle));
	json_object_object_add(o, "clock_khz", json_object_new_int(d->clock_khz));
	json_object_object_add(o, "firmware", json_object_new_string(fw));
	json_object_object_add(o, "firmware_abi", json_object_new_int(d->fw_abi));
	json_object_object_add(o, "isa_version", json_object_new_int(d->isa_version));
	json_object_object_add(o, "resets", json_object_new_int(d->resets));
	return o;
}

static void device_text(const struct mica_device_info *d)
{
	printf("%s: %u cores, %u KiB LMEM each, %ux%u MACs and %u lanes a cycle, DRAM %u bytes a cycle\n", d->name, d->cores,
	       d->lmem_size >> 10, d->mac_rows, d->mac_cols, d->vector_lanes, d->dram_bytes_per_cycle);
	printf("  driver %u.%u, firmware %u.%u.%u (ABI %u), ISA %u, %u resets since the driver was loaded\n", d->driver_major,
	       d->driver_minor, d->fw_version >> 16, d->fw_version >> 8 & 0xff, d->fw_version & 0xff, d->fw_abi, d->isa_version,
	       d->resets);
}

/* Devices that can be opened, described; why there is none goes to the text. */
static json_object *devices(bool json)
{
	struct mica_device_node nodes[MAX_DEVICES];
	unsigned n = mica_device_list(nodes, MAX_DEVICES);
	json_object *list = json_object_new_array();
	struct mica_device_options o = MICA_DEVICE_OPTIONS_INIT;
	struct mica_device_info info;
	struct mica_device *dev;

	o.backend = MICA_BACKEND_DEVICE;
	for (unsigned i = 0; i < n && i < MAX_DEVICES; i++) {
		o.path = nodes[i].path;
		if (mica_device_open(&o, &dev)) {
			cli_note("%s", mica_error_text());
			continue;
		}
		mica_device_get_info(dev, &info);
		mica_device_close(dev);
		json_object_array_add(list, device_json(&info));
		if (!json)
			device_text(&info);
	}
	o.path = NULL;
	if (!n && mica_device_open(&o, &dev) && !json)
		printf("no device: %s\n", mica_error_text());
	return list;
}

static int machine_info(bool json)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	const char *isa = mica_cpu_isa_name(mica_cpu_isa_best());
	json_object *o = json_object_new_object(), *cpu = json_object_new_object(), *list;

	if (!json)
		printf("mica %s, ISA version %u\ncpu: %s kernels, %ld processors\n", mica_version(), MICA_ISA_VERSION, isa, cpus);
	list = devices(json);
	json_object_object_add(o, "version", json_object_new_string(mica_version()));
	json_object_object_add(o, "isa_version", json_object_new_int(MICA_ISA_VERSION));
	json_object_object_add(cpu, "isa", json_object_new_string(isa));
	json_object_object_add(cpu, "processors", json_object_new_int64(cpus));
	json_object_object_add(o, "cpu", cpu);
	json_object_object_add(o, "devices", list);
	if (json)
		return json_print(o);
	json_object_put(o);
	return 0;
}

/* ---- operators ---- */

static int operators_info(bool json)
{
	static struct mica_operator list[512];
	unsigned n = mica_operators(list, 512);
	json_object *all = json_object_new_array();

	for (unsigned i = 0; i < n; i++) {
		json_object *o = json_object_new_object();

		json_object_object_add(o, "type", json_object_new_string(list[i].type));
		json_object_object_add(o, "since_opset", json_object_new_int((int)list[i].since));
		json_object_object_add(o, "where", json_object_new_string(list[i].where));
		json_object_array_add(all, o);
		if (!json)
			printf("%-28s opset %2u..  %s\n", list[i].type, list[i].since, list[i].where);
	}
	if (json)
		return json_print(all);
	json_object_put(all);
	printf("%u operators, and Constant; docs/compiler.md has their limits\n", n);
	return 0;
}

/* ---- a model ---- */

static json_object *tensor_json(const struct mica_tensor_info *t)
{
	json_object *o = json_object_new_object();
	static const char *const dtypes[] = { "none", "f32", "bf16", "e4m3", "e5m2", "i8", "u8", "i32" };

	json_object_object_add(o, "name", json_object_new_string(t->name));
	json_object_object_add(o, "shape", json_dims(t->dim, t->rank));
	json_object_object_add(o, "dtype", json_object_new_string(dtypes[t->dtype]));
	json_object_object_add(o, "scale", json_num(t->scale));
	json_object_object_add(o, "zero", json_object_new_int(t->zero));
	if (t->range_min < t->range_max) {
		json_object_object_add(o, "range_min", json_num((double)t->range_min));
		json_object_object_add(o, "range_max", json_num((double)t->range_max));
	}
	return o;
}

static json_object *model_json(const struct mica_model *m, const struct mica_model_info *i)
{
	json_object *o = json_object_new_object(), *in = json_object_new_array(), *out = json_object_new_array();

	json_object_object_add(o, "name", json_object_new_string(i->name));
	json_object_object_add(o, "producer", json_object_new_string(i->producer));
	json_object_object_add(o, "format", json_object_new_string(i->format));
	json_object_object_add(o, "method", json_object_new_string(i->method));
	json_object_object_add(o, "isa_version", json_object_new_int(i->isa_version));
	json_object_object_add(o, "cores", json_object_new_int(i->cores));
	json_object_object_add(o, "lmem_bytes", json_object_new_int64(i->lmem_size));
	json_object_object_add(o, "weights_bytes", json_object_new_int64(i->weights_size));
	json_object_object_add(o, "arena_bytes", json_object_new_int64(i->arena_size));
	json_object_object_add(o, "commands_bytes", json_object_new_int64(i->stream_size));
	json_object_object_add(o, "macs", json_object_new_int64(i->macs));
	json_object_object_add(o, "layers", json_object_new_int(i->layers));
	json_object_object_add(o, "phases", json_object_new_int(i->phases));
	json_object_object_add(o, "host_steps", json_object_new_int(i->host_steps));
	json_object_object_add(o, "host_bytes", json_object_new_int64(i->host_bytes));
	for (unsigned k = 0; k < mica_model_input_count(m); k++)
		json_object_array_add(in, tensor_json(mica_model_input(m, k)));
	for (unsigned k = 0; k < mica_model_output_count(m); k++)
		json_object_array_add(out, tensor_json(mica_model_output(m, k)));
	json_object_object_add(o, "inputs", in);
	json_object_object_add(o, "outputs", out);
	return o;
}

static void tensors_text(const char *what, unsigned n, const struct mica_tensor_info *(*get)(const struct mica_model *, unsigned),
			 const struct mica_model *m)
{
	static const char *const dtypes[] = { "none", "f32", "bf16", "e4m3", "e5m2", "i8", "u8", "i32" };
	char buf[96];

	for (unsigned k = 0; k < n; k++) {
		const struct mica_tensor_info *t = get(m, k);

		printf("  %-6s  %-24s %s %s, scale %.6g, zero %d", what, t->name, dtypes[t->dtype], dims_text(t, buf, sizeof(buf)),
		       t->scale, t->zero);
		if (get == mica_model_input && t->range_min < t->range_max)
			printf(", range %.4g to %.4g", (double)t->range_min, (double)t->range_max);
		putchar('\n');
	}
}

static int model_info(const char *path, bool json)
{
	struct mica_model_info i;
	struct mica_model *m;
	int ret = mica_model_load(NULL, path, &m);

	if (ret)
		return cli_sdk(ret);
	mica_model_get_info(m, &i);
	if (json) {
		ret = json_print(model_json(m, &i));
	} else {
		printf("%s: %s by %s, method %s\n", i.name, i.format, i.producer, i.method);
		printf("  %.1f MMAC, %u layers, %u core%s with %u KiB LMEM; weights %.2f MB, arena %.2f MB, commands %.2f MB\n",
		       i.macs / 1e6, i.layers, i.cores, i.cores == 1 ? "" : "s", i.lmem_size >> 10, i.weights_size / 1e6,
		       i.arena_size / 1e6, i.stream_size / 1e6);
		if (i.host_steps)
			printf("  %u phases; %u host steps move %.2f MB in each inference ('mica dump' lists them)\n", i.phases, i.host_steps,
			       i.host_bytes / 1e6);
		tensors_text("input", mica_model_input_count(m), mica_model_input, m);
		tensors_text("output", mica_model_output_count(m), mica_model_output, m);
	}
	mica_model_close(m);
	return ret;
}

struct info_args { bool json, operators; };

static const struct cli_opt own[] = {
	CLI_FLAG("json", struct info_args, json), CLI_FLAG("operators", struct info_args, operators), { 0 }
};

static int run(int argc, char **argv)
{
	struct info_args a = { 0 };
	const struct cli_group groups[] = { CLI_GROUP(own, &a), { 0 } };
	int ret = cli_parse(&cmd_info, argc, argv, groups);

	if (ret)
		return ret == CLI_HELP ? 0 : ret;
	if (argc - optind > 1)
		return cli_fail(MICA_ERR_USAGE, "one MODEL.mica at most is expected, found also '%s'", argv[optind + 1]);
	if (a.operators && optind < argc)
		return cli_fail(MICA_ERR_USAGE, "--operators takes no model, found '%s'", argv[optind]);
	if (a.operators)
		return operators_info(a.json);
	return optind < argc ? model_info(argv[optind], a.json) : machine_info(a.json);
}

const struct command cmd_info = {
	"info", "devices, CPU and version, or what a model needs", run,
	"[MODEL.mica | --operators] [--json]\n\n"
	"Without a model: version, CPU kernels, MICA devices. With one: its format, sizes, inputs and outputs.\n"
	"--operators: the ONNX operators that compile, since which opset, and what does the work.\n",
};
