// SPDX-License-Identifier: MIT
/* Small models: .mica files made by hand, without the compiler, and one that it makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>
#include "onnx_builder.h"
#include "sdk_builder.h"

#define BYTES (BUILT_ELEMENTS * 4)

static void put_copy(uint8_t *at, uint64_t src, uint64_t dst, enum mica_engine_id waits_for, uint32_t count)
{
	struct mica_pkt_copy *p = (void *)at;

	p->hdr.opcode = MICA_OP_COPY;
	p->hdr.units = sizeof(*p) / MICA_PKT_ALIGN;
	if (count)
		p->hdr.wait[waits_for] = count;
	p->src = src;
	p->dst = dst;
	p->elem = 4;
	for (int i = 0; i < 4; i++) {
		p->dim[i] = i == 3 ? BUILT_ELEMENTS : 1;
		p->src_stride[i] = p->dst_stride[i] = i == 3 ? 4 : BYTES;
	}
}

static void put_view(struct mica_view *v, uint32_t addr)
{
	v->addr = addr;
	v->dtype = MICA_F32;
	v->scale = 1;
	v->stride[0] = v->stride[1] = v->stride[2] = BYTES;
	v->stride[3] = 4;
}

static void put_relu(uint8_t *at)
{
	struct mica_pkt_unary *p = (void *)at;

	p->hdr.opcode = MICA_OP_UNARY;
	p->hdr.units = sizeof(*p) / MICA_PKT_ALIGN;
	p->hdr.layer = 1;
	p->hdr.wait[MICA_ENGINE_LOAD] = 1;
	put_view(&p->src, 0);
	put_view(&p->dst, 0);
	p->dim[0] = p->dim[1] = p->dim[2] = 1;
	p->dim[3] = BUILT_ELEMENTS;
	p->func = MICA_FN_RELU;
}

static uint8_t *make_stream(unsigned repeat, size_t *size)
{
	size_t copy = sizeof(struct mica_pkt_copy), unary = sizeof(struct mica_pkt_unary);
	uint8_t *stream, *p;

	*size = 2 * copy + repeat * unary + sizeof(struct mica_pkt_ctl);
	p = stream = calloc(1, *size);
	put_copy(p, MICA_ADDR(MICA_SEG_IO, 0), MICA_ADDR(MICA_SEG_LMEM, 0), 0, 0);
	p += copy;
	for (unsigned i = 0; i < repeat; i++, p += unary)
		put_relu(p);
	put_copy(p, MICA_ADDR(MICA_SEG_LMEM, 0), MICA_ADDR(MICA_SEG_IO + 1, 0), MICA_ENGINE_VECTOR, repeat);
	((struct mica_pkt_copy *)p)->hdr.wait[MICA_ENGINE_LOAD] = 1;
	p += copy;
	((struct mica_pkt_ctl *)p)->hdr.opcode = MICA_OP_END;
	((struct mica_pkt_ctl *)p)->hdr.units = 1;
	return stream;
}

void fix_checksums(uint8_t *file)
{
	struct mica_model_header *h = (void *)file;

	h->meta_crc = crc32(0, file + h->header_size, h->meta_size);
	h->blob_crc = crc32(0, file + h->blob_offset, h->blob_size);
	h->header_crc = 0;
	h->header_crc = crc32(0, file, sizeof(*h));
}

static uint8_t *pack(const Mica__Model *m, size_t *size)
{
	size_t meta = mica__model__get_packed_size(m), blob = (sizeof(struct mica_model_header) + meta + 63) / 64 * 64;
	uint8_t *file = calloc(1, blob + 64);
	struct mica_model_header h = {
		.magic = MICA_MODEL_MAGIC, .version = MICA_MODEL_VERSION, .header_size = sizeof(h), .meta_size = meta,
		.blob_offset = blob, .blob_size = 64,
	};

	memcpy(file, &h, sizeof(h));
	mica__model__pack(m, file + sizeof(h));
	fix_checksums(file);
	*size = blob + 64;
	return file;
}

uint8_t *build_model(unsigned repeat, void (*prepare)(Mica__Model *m), size_t *size)
{
	uint32_t dims[] = { 1, BUILT_ELEMENTS };
	Mica__Model m = MICA__MODEL__INIT;
	Mica__Tensor x = MICA__TENSOR__INIT, y = MICA__TENSOR__INIT, *xs = &x, *ys = &y;
	Mica__Layer load = MICA__LAYER__INIT, relu = MICA__LAYER__INIT, *layers[] = { &load, &relu };
	Mica__Stream stream = MICA__STREAM__INIT, *streams = &stream;
	uint8_t *file;

	x.name = "x";
	y.name = "y";
	x.dtype = y.dtype = MICA_F32;
	x.dims = y.dims = dims;
	x.n_dims = y.n_dims = 2;
	x.scale = y.scale = 1;
	load.name = "load";
	relu.name = "act";
	relu.op = "Relu";
	stream.commands.data = make_stream(repeat, &stream.commands.len);
	m.producer = "by hand";
	m.name = "built.onnx";
	m.format = "f32";
	m.isa_version = MICA_ISA_VERSION;
	m.lmem_size = 4096;
	m.inputs = &xs;
	m.outputs = &ys;
	m.layers = layers;
	m.streams = &streams;
	m.n_inputs = m.n_outputs = m.n_streams = 1;
	m.n_layers = 2;
	if (prepare)
		prepare(&m);
	file = pack(&m, size);
	free(stream.commands.data);
	return file;
}

/* ---- with the compiler ---- */

static void write_host_model(const char *path)
{
	int64_t n = BUILT_ELEMENTS, one = 1;

	ob_begin(13);
	ob_input("x", ONNX_F32, 1, &n);
	ob_raw("k", ONNX_I64, 1, &one, &n, sizeof(n));
	ob_node("Neg", "neg", (const char *[]){ "x" }, 1);
	ob_node("TopK", "top", (const char *[]){ "neg", "k" }, 2);
	ob_node("Relu", "y", (const char *[]){ "top" }, 1);
	ob_output("y");
	ob_write(path);
}

struct mica_model *load_host_model(struct mica_device *dev)
{
	char onnx[] = "/tmp/mica-host-XXXXXX", out[] = "/tmp/mica-host-XXXXXX";
	struct mica_compile_options o;
	struct mica_model *m;

	close(mkstemp(onnx));
	close(mkstemp(out));
	write_host_model(onnx);
	mica_compile_defaults(&o);
	o.format = MICA_F32;
	assert_int_equal(mica_compile(onnx, out, &o, NULL), 0);
	assert_int_equal(mica_model_load(dev, out, &m), 0);
	unlink(onnx);
	unlink(out);
	return m;
}
