/* SPDX-License-Identifier: MIT */
/* What the programs that call ONNX Runtime share: loading the library, and errors that end the program. */
#ifndef ORT_PEER_H
#define ORT_PEER_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include "onnxruntime_c_api.h"

static const OrtApi *api;

static void fail(const char *what)
{
	fprintf(stderr, "onnxruntime: %s\n", what);
	exit(1);
}

static void ok(OrtStatus *s, const char *what)
{
	if (!s)
		return;
	fprintf(stderr, "onnxruntime: %s: %s\n", what, api->GetErrorMessage(s));
	exit(1);
}

static OrtEnv *load_ort(const char *lib)
{
	void *h = dlopen(lib, RTLD_NOW);
	const OrtApiBase *(*base)(void) = h ? (const OrtApiBase *(*)(void))dlsym(h, "OrtGetApiBase") : NULL;
	OrtEnv *env;

	if (!base)
		fail(dlerror());
	api = base()->GetApi(ORT_API_VERSION);
	if (!api)
		fail("the library is older than the headers");
	ok(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "bench", &env), "env");
	return env;
}

#endif
