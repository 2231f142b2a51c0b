# SPDX-License-Identifier: MIT
# The front door. `make help` lists what there is; the user side is built into build/ (build-asan/ with SAN=1).

VERSION := 0.1.0
SOVERSION := 0

# --- Which build --------------------------------------------------------------------------------------------------
# SAN=1 (or address): AddressSanitizer and UBSan. SAN=thread: TSan. SAN=fuzz: clang's libFuzzer with ASan and UBSan.
# SAN=coverage counts lines and branches (scripts/coverage.sh).

SAN ?=
# With ccache, if it is there, unless the user chose a compiler. Its files lie with the other slow things.
ifeq ($(origin CC),default)
  CC := gcc
  ifneq ($(shell command -v ccache),)
    CC := ccache gcc
    export CCACHE_DIR ?= $(or $(MICA_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mica)/ccache
  endif
endif

ifeq ($(SAN),)
  O := build
else ifneq ($(filter 1 address,$(SAN)),)
  O := build-asan
  SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
  # Intrinsics under both take the compiler many minutes; the scalar path has the same arithmetic.
  kernels := engine/path_avx%
  kernel_SANFLAGS := -O1 -fno-sanitize=undefined --param=asan-instrumentation-with-call-threshold=0
else ifeq ($(SAN),thread)
  O := build-tsan
  SANFLAGS := -fsanitize=thread
else ifeq ($(SAN),fuzz)
  O := build-fuzz
  CC := $(if $(filter ccache,$(CC)),ccache )clang
  SANFLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -Wno-error
  # The same here, with coverage counters on top.
  kernels := engine/path_%
  kernel_SANFLAGS := -O1 -fno-sanitize=undefined,fuzzer-no-link
else ifeq ($(SAN),coverage)
  O := build-coverage
  SANFLAGS := --coverage -fprofile-abs-path
else
  $(error SAN=$(SAN) is not known: 1, thread, fuzz or coverage)
endif

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DESTDIR ?=
BACKEND ?=

# All cores by default, unless the user chose with -j.
ifeq ($(filter -j%,$(MAKEFLAGS)),)
  MAKEFLAGS += -j$(shell nproc)
endif
MAKEFLAGS += --no-builtin-rules --no-print-directory

ifeq ($(V),1)
  Q :=
  say = @:
else
  Q := @
  say = @printf '  %-7s %s\n' $(1) $(2)
endif

# --- Flags --------------------------------------------------------------------------------------------------------

INCLUDES := -Iuapi -Iengine -Icompiler -Ilibsdk -I$(O)/gen
WARNINGS := -Wall -Wextra -Werror
CFLAGS ?= -O2 -g
BASE_CFLAGS = -std=gnu11 -D_GNU_SOURCE= $(CFLAGS) -ffp-contract=off -fno-math-errno -fPIC -pthread $(WARNINGS) \
	$(INCLUDES) $(PKG_CFLAGS) $(SANFLAGS) -DMICA_VERSION='"$(VERSION)"'
PKG_CFLAGS := $(shell pkg-config --cflags libdrm 2>/dev/null)
BASE_LDFLAGS = $(SANFLAGS) -pthread -Wl,--as-needed $(LDFLAGS)
LIBSDK_LIBS := -lprotobuf-c -luring -ldrm -lpng -ljpeg -lz -lm
TOOL_LIBS := $(LIBSDK_LIBS) -ljson-c

# Per-room flags. The engine's hot files are compiled once per instruction set; its dispatcher picks at run time.
AVX2_FLAGS := -mavx2 -mfma -mf16c
AVX512_FLAGS := $(AVX2_FLAGS) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vbmi -mavx512vnni -mavx512bf16
engine_FLAGS := -fvisibility=hidden
GEN_FLAGS := -fvisibility=hidden -w
isa_flags = $(if $(filter $(kernels),$(1)),$(kernel_SANFLAGS) )$(if $(filter %_avx2.c,$(1)),$(AVX2_FLAGS))$(if $(filter %_avx512.c,$(1)),$(AVX512_FLAGS))
room_flags = $($(firstword $(subst /, ,$(1)))_FLAGS)
# Programs of tests/ and bench/ also see the slow reference and the tests' own helpers.
tests_FLAGS := -Itests -Itests/ref -Itests/unit
bench_FLAGS := -Ibench

# --- Sources ------------------------------------------------------------------------------------------------------
# Rooms are compiled by wildcard; an empty one is fine.

objs = $(patsubst %.c,$(O)/obj/%.o,$(1))

ENGINE_OBJS := $(call objs,$(wildcard engine/*.c engine/*/*.c))
COMPILER_OBJS := $(call objs,$(wildcard compiler/*.c compiler/*/*.c))
LIBSDK_OBJS := $(call objs,$(wildcard libsdk/*.c libsdk/*/*.c))
TOOLS_OBJS := $(call objs,$(wildcard tools/*.c))
REF_OBJS := $(call objs,$(wildcard tests/ref/*.c))
UNIT_SRCS := $(wildcard tests/unit/*_test.c)
UNIT_HELPER_OBJS := $(call objs,$(filter-out $(UNIT_SRCS),$(wildcard tests/unit/*.c)))
UNIT_TESTS := $(patsubst tests/unit/%.c,$(O)/tests/%,$(UNIT_SRCS))
FUZZ_SRCS := $(wildcard tests/fuzz/*_fuzz.c)
FUZZ_HELPER_OBJS := $(call objs,$(filter-out $(FUZZ_SRCS),$(wildcard tests/fuzz/*.c)))
FUZZERS := $(patsubst tests/fuzz/%.c,$(O)/fuzz/%,$(FUZZ_SRCS))
BENCHES := $(patsubst bench/%.c,$(O)/bench/%,$(wildcard bench/*.c))

# Code made from protobuf schemas: the system's ONNX schema and our container's.
ONNX_PROTO := $(firstword $(wildcard /usr/include/onnx/onnx.proto /usr/local/include/onnx/onnx.proto))
MODEL_PROTO := $(wildcard uapi/mica/model.proto)
ONNX_GEN := $(if $(ONNX_PROTO),$(O)/gen/onnx.pb-c)
MODEL_GEN := $(if $(MODEL_PROTO),$(O)/gen/model.pb-c)
GEN_HEADERS := $(addsuffix .h,$(ONNX_GEN) $(MODEL_GEN))
ONNX_OBJ := $(addsuffix .o,$(ONNX_GEN))
MODEL_OBJ := $(addsuffix .o,$(MODEL_GEN))

STATIC_LIBS := $(O)/libcompiler.a $(O)/libmica.a
TEST_LIBS := $(STATIC_LIBS) $(O)/libref.a

# --- User side ----------------------------------------------------------------------------------------------------

.PHONY: all
all: $(O)/libengine.a $(O)/libmica.so $(STATIC_LIBS) $(O)/mica.pc $(if $(TOOLS_OBJS),$(O)/mica)

# A stamp that changes with the flags, so that other flags mean another build.
FLAGS_TEXT = $(CC) $(BASE_CFLAGS) $(kernel_SANFLAGS) $(BASE_LDFLAGS) $(AVX512_FLAGS) $(engine_FLAGS) $(GEN_FLAGS) $(tests_FLAGS) $(bench_FLAGS)
FLAGS_STAMP := $(O)/.flags
LISTS_TEXT = $(ENGINE_OBJS) , $(COMPILER_OBJS) , $(LIBSDK_OBJS) , $(TOOLS_OBJS) , $(REF_OBJS) , $(UNIT_HELPER_OBJS)
LISTS_STAMP := $(O)/.lists
keep_stamp = $(shell mkdir -p $(O); printf '%s' $(call quote,$(2)) | cmp -s - $(1) || printf '%s' $(call quote,$(2)) >$(1))
quote = '$(subst ','\'',$(1))'
$(call keep_stamp,$(FLAGS_STAMP),$(FLAGS_TEXT))
$(call keep_stamp,$(LISTS_STAMP),$(LISTS_TEXT))

$(O)/obj/%.o: %.c $(FLAGS_STAMP) | $(GEN_HEADERS)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BASE_CFLAGS) $(call room_flags,$<) $(call isa_flags,$<) -MMD -MP -MT $@ -MF $(@:.o=.d) -c $< -o $@.$$$$ \
		&& mv -f $@.$$$$ $@

# Generated C is not ours to warn about, nor part of the library's interface.
$(O)/gen/%.o: $(O)/gen/%.c $(O)/gen/%.h $(FLAGS_STAMP)
	$(call say,CC,$<)
	$(Q)$(CC) $(BASE_CFLAGS) $(GEN_FLAGS) -c $< -o $@.$$$$ && mv -f $@.$$$$ $@

define protoc_rule
$(1).c $(1).h &: $(2)
	$$(call say,PROTOC,$(2))
	$$(Q)mkdir -p $$(@D)
	$$(Q)protoc-c --c_out=$(dir $(1)) -I$(dir $(2)) $(2)
endef
$(if $(ONNX_GEN),$(eval $(call protoc_rule,$(ONNX_GEN),$(ONNX_PROTO))))
$(if $(MODEL_GEN),$(eval $(call protoc_rule,$(MODEL_GEN),$(MODEL_PROTO))))

# Outputs appear by a rename: two makes at once, or one that is killed, leave no half-written file.
# An archive is made anew, so that objects of removed sources do not live on in it.
define archive
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D) && ar rcs $@.$$$$ $(filter %.o,$^) && mv -f $@.$$$$ $@
endef

$(O)/libengine.a: $(ENGINE_OBJS) $(LISTS_STAMP)
	$(archive)
$(O)/libcompiler.a: $(COMPILER_OBJS) $(ONNX_OBJ) $(LISTS_STAMP)
	$(archive)
$(O)/libmica.a: $(LIBSDK_OBJS) $(ENGINE_OBJS) $(MODEL_OBJ) $(LISTS_STAMP)
	$(archive)
$(O)/libref.a: $(REF_OBJS) $(LISTS_STAMP)
	$(archive)
$(O)/libtestutil.a: $(UNIT_HELPER_OBJS) $(LISTS_STAMP)
	$(archive)

MAP := $(wildcard libsdk/libmica.map)
$(O)/libmica.so.$(SOVERSION): $(LIBSDK_OBJS) $(ENGINE_OBJS) $(MODEL_OBJ) $(MAP) $(LISTS_STAMP)
	$(call say,LD,$@)
	$(Q)$(CC) -shared -Wl,-soname,libmica.so.$(SOVERSION) $(if $(SANFLAGS),,-Wl,-z,defs) \
		$(if $(MAP),-Wl$(comma)--version-script=$(MAP)) $(BASE_LDFLAGS) -o $@.$$$$ $(filter %.o,$^) $(LIBSDK_LIBS) \
		&& mv -f $@.$$$$ $@
comma := ,

$(O)/libmica.so: $(O)/libmica.so.$(SOVERSION)
	$(Q)ln -sf $(<F) $@

# Always written anew: PREFIX may differ from one make to the next.
.PHONY: $(O)/mica.pc
$(O)/mica.pc:
	$(Q)printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$(INCLUDEDIR)' '' 'Name: mica' \
		'Description: run compiled models on a MICA accelerator or, with the same bits, on the CPU' \
		'Version: $(VERSION)' 'Libs: -L$${libdir} -lmica' 'Libs.private: $(LIBSDK_LIBS) -pthread' \
		'Cflags: -I$${includedir}' >$@

# link OBJECTS-AND-ARCHIVES LIBS: archives may need each other.
define link
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BASE_LDFLAGS) -o $@.$$$$ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(1) \
		&& mv -f $@.$$$$ $@
endef

$(O)/mica: $(TOOLS_OBJS) $(STATIC_LIBS)
	$(call link,$(TOOL_LIBS))

# --- Programs of the tests ----------------------------------------------------------------------------------------

.PHONY: tests fuzzers benches
tests: all $(UNIT_TESTS)
fuzzers: $(FUZZERS)
benches: all $(BENCHES)

$(O)/tests/%: $(O)/obj/tests/unit/%.o $(TEST_LIBS) $(O)/libtestutil.a
	$(call link,-lcmocka $(TOOL_LIBS))
$(O)/fuzz/%: $(O)/obj/tests/fuzz/%.o $(FUZZ_HELPER_OBJS) $(TEST_LIBS)
	$(call link,-fsanitize=fuzzer $(TOOL_LIBS))
$(O)/bench/%: $(O)/obj/bench/%.o $(TEST_LIBS)
	$(call link,$(TOOL_LIBS))

.SECONDARY:
.DELETE_ON_ERROR:

# --- Device side --------------------------------------------------------------------------------------------------

.PHONY: qemu firmware driver guest-tests guest device
qemu: $(O)/libengine.a
	$(Q)scripts/qemu.sh >/dev/null

firmware:
	$(if $(wildcard firmware/Makefile),$(Q)$(MAKE) $(if $(Q),-s) -C firmware O=$(abspath build/firmware),@:)

driver:
	$(Q)scripts/driver.sh $(if $(W),W=$(W)) $(if $(C),C=$(C)) >/dev/null

guest-tests: $(O)/libmica.a
	$(Q)scripts/guest-tests.sh

guest: all firmware driver guest-tests
	$(Q)scripts/guest-image.sh >/dev/null

device: qemu guest

# --- What people type ---------------------------------------------------------------------------------------------

.PHONY: run check check-user check-guest check-asan check-tsan check-debug bench fuzz docs lint install clean distclean help deps
deps:
	@scripts/deps.sh user

run:
	@BACKEND=$(BACKEND) scripts/run-demo.sh

check:
	@scripts/deps.sh user device check
	@scripts/check.sh user asan + guest fuzz

check-user:
	@scripts/deps.sh user check
	@scripts/check.sh user

check-asan:
	@scripts/deps.sh user check
	@scripts/check.sh asan

check-tsan:
	@scripts/deps.sh user check
	@scripts/check.sh tsan

check-guest:
	@scripts/deps.sh user device
	@scripts/check.sh guest

check-debug:
	@scripts/deps.sh user device
	@scripts/check.sh debug

bench:
	@scripts/deps.sh user
	@$(MAKE) benches
	@QUICK=$(QUICK) bench/run.sh $(if $(PUBLISH),--publish) $(PARTS)

coverage:
	@scripts/deps.sh user check
	@scripts/coverage.sh

FUZZ_TIME ?= 60
fuzz:
	@command -v clang >/dev/null || { echo 'make fuzz needs clang (apt-get install clang)' >&2; exit 1; }
	@$(MAKE) all
	@$(MAKE) SAN=fuzz fuzzers
	@FUZZ_TIME=$(FUZZ_TIME) scripts/fuzz.sh

docs:
	$(if $(wildcard docs/Makefile),@$(MAKE) -C docs O=$(abspath build/docs),@echo 'docs/Makefile is not there yet')

lint:
	@scripts/lint.sh

MAN_PAGES = $(wildcard docs/man/*.[1-8] build/docs/man/*.[1-8])
install: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)/mica $(DESTDIR)$(INCLUDEDIR)/drm
	install -m 755 $(O)/mica $(DESTDIR)$(BINDIR)/
	install -m 755 $(O)/libmica.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/
	ln -sf libmica.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libmica.so
	install -m 644 $(O)/libmica.a $(DESTDIR)$(LIBDIR)/
	install -m 644 $(O)/mica.pc $(DESTDIR)$(LIBDIR)/pkgconfig/
	install -m 644 libsdk/mica.h $(DESTDIR)$(INCLUDEDIR)/
	install -m 644 $(wildcard uapi/mica/*.h uapi/mica/*.def) $(DESTDIR)$(INCLUDEDIR)/mica/
	install -m 644 $(wildcard uapi/drm/*.h) $(DESTDIR)$(INCLUDEDIR)/drm/
	for page in $(MAN_PAGES); do install -D -m 644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/} || exit 1; done

clean:
	rm -rf build build-asan build-tsan build-fuzz build-coverage

help:
	@printf '%s\n' \
		'make              the user side: build/mica, libmica' \
		'make run          install what is missing, build, run a model on the CPU, then on the emulated device' \
		'make run BACKEND=cpu   only the CPU part' \
		'make check        every test; the last line is "N passed, N failed, N skipped"' \
		'make check-user   without sanitizers and guest;  check-asan, check-tsan, check-guest: one part' \
		'make check-debug  the guest tests with a debug kernel: KASAN, lockdep, kmemleak (builds one; not in make check)' \
		'make bench        measure what the documentation quotes; QUICK=1, PARTS="models layers accuracy device", PUBLISH=1' \
		'make coverage     which lines and branches of the kernels the random streams reach' \
		'make fuzz         fuzz for FUZZ_TIME=60 seconds per target, or FUZZ_RUNS=N executions (needs clang)' \
		'make lint         checkpatch, sparse, shellcheck' \
		'make qemu | firmware | driver | guest   one part of the device side' \
		'make docs         man pages and other generated documents' \
		'make install      DESTDIR= PREFIX=/usr/local' \
		'make clean        remove build*/ (QEMU, kernel and other slow things stay in the cache)' \
		'Variables: V=1 shows commands, SAN=1|thread another build, MICA_CACHE=DIR, MICA_ACCEL=kvm, MICA_UPDATE=1'

-include $(shell find $(O)/obj -name '*.d' 2>/dev/null)
