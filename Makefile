# SPDX-License-Identifier: Apache-2.0
# The whole build: kernel programs, generated code, one archive per folder, binaries, tests.
# `make help` lists the targets; V=1 shows the commands; B=DIR builds elsewhere.

B ?= build
V ?= 0
PREFIX ?= /usr
DESTDIR ?=
SECONDS_EACH ?= 20
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PYTHON ?= /usr/bin/python3
ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool) bpftool)

.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

# Goals that must work before a compiler is installed; what they need built they ask a second make for.
FRONT := help deps test-deps lint-deps bench-deps validation-deps kernel-deps kernels run test test-full asan asan-unit fuzz coverage \
	bench validation lint format clean
BUILDING := $(filter-out $(FRONT),$(or $(MAKECMDGOALS),all))

# ---- what there is -------------------------------------------------------------------------------

BASE_SRC := $(wildcard proto/base/*.c)
PROTO_SRC := $(wildcard proto/*.c)
AGENT_SRC := $(filter-out agent/main.c,$(wildcard agent/*.c agent/*/*.c))
COLLECTOR_SRC := $(filter-out collector/main.c,$(wildcard collector/*.c))
CLI_SRC := $(filter-out collector/cli/main.c,$(wildcard collector/cli/*.c))
TEST_HELP_SRC := $(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c))
PROTOS := $(wildcard proto/*.proto)
BPF_SRC := $(wildcard bpf/*.bpf.c)

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
PB_C := $(patsubst proto/%.proto,$(B)/gen/%.pb-c.c,$(PROTOS))
PB_H := $(PB_C:.c=.h)
PB_PY := $(patsubst proto/%.proto,$(B)/gen/python/%_pb2.py,$(PROTOS))
SKELETONS := $(patsubst bpf/%.bpf.c,$(B)/gen/%.skel.h,$(BPF_SRC))

A := $(B)/obj
ARCHIVES := $(A)/libcli.a $(A)/libcollector.a $(A)/libagent.a $(A)/libproto.a $(A)/libbase.a
BINARIES := $(if $(wildcard agent/main.c),$(B)/bin/exhibit-agent) \
	$(if $(wildcard collector/main.c),$(B)/bin/exhibit-collector) \
	$(if $(wildcard collector/cli/main.c),$(B)/bin/exhibit)

UNIT := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
UNIT_BINARIES := $(addprefix $(B)/tests/,$(if $(T),$(addprefix test_,$(T)),$(UNIT)))
FUZZ := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BINARIES := $(addprefix $(B)/fuzz/,$(if $(T),$(addprefix fuzz_,$(T)),$(FUZZ)))
SHIMS := $(patsubst tests/system/%.c,$(B)/tests/%.so,$(wildcard tests/system/shim_*.c))
DRIVERS := $(patsubst tests/system/%.c,$(B)/tests/%,$(wildcard tests/system/driver_*.c))
BENCHES := $(filter-out %/synthetic,$(patsubst tests/bench/%.c,$(B)/bench/%,$(wildcard tests/bench/*.c)))

# ---- flags ---------------------------------------------------------------------------------------

# Each is tried once with the chosen compiler; what it does not know is left out.
PROBE_FLAGS := -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wformat-signedness \
	-Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef -Wjump-misses-init \
	-fno-common -fno-strict-aliasing \
	-fstack-protector-strong -fstack-clash-protection -fcf-protection \
	-mbranch-protection=standard -ftrivial-auto-var-init=zero
# clang's -Wextra counts against libseccomp's SCMP_A0 and GNU C what gcc's does not.
ifneq ($(findstring clang,$(CC)),)
PROBE_FLAGS += -Wno-missing-field-initializers -Wno-gnu-variable-sized-type-not-at-end
endif
FLAGS_MK := $(B)/obj/flags-$(notdir $(firstword $(CC))).mk
ifneq ($(BUILDING),)
-include $(FLAGS_MK)
endif

OPTIMISE := -O2 -g -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
WERROR := -Werror
# Warnings that follow the flow of values (maybe-uninitialized, format-truncation) see ghosts in code
# that is instrumented or not optimised: only the plain build fails on them.
ifneq ($(SAN)$(COV),)
WERROR := -w
endif
ifneq ($(SAN),)
OPTIMISE := -O1 -g -fno-omit-frame-pointer -U_FORTIFY_SOURCE
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
ifeq ($(SAN),fuzz)
SANITIZE += -fsanitize=fuzzer-no-link
endif
endif
ifneq ($(COV),)
OPTIMISE := -O0 -g -U_FORTIFY_SOURCE
SANITIZE := --coverage
endif

CPPFLAGS_ALL = -D_GNU_SOURCE -I. -isystem $(B)/gen $(CPPFLAGS)
CFLAGS_ALL = -std=gnu11 $(OPTIMISE) $(WERROR) $(FLAGS) -fPIE $(SANITIZE) $(CFLAGS)
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed $(SANITIZE) $(LDFLAGS)

LIBS_COMMON := -lprotobuf-c -lgrpc -lgpr -lzstd -lssl -lcrypto -lyaml -lseccomp -lcap -lz -lpthread
LIBS_AGENT := -lbpf -lelf -lpcap -ljansson $(LIBS_COMMON)
LIBS_COLLECTOR := -lsystemd -lsqlite3 -lcurl -ljansson $(LIBS_COMMON)
LIBS_ALL := -lbpf -lelf -lpcap -lsystemd -lsqlite3 -lcurl -ljansson $(LIBS_COMMON)

BPF_ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,x86,$(shell uname -m)))
BPF_FLAGS = -target bpf -O2 -g -std=gnu11 -Wall -Werror -mcpu=v3 -D__TARGET_ARCH_$(BPF_ARCH) -I. \
	-idirafter /usr/include/$(shell uname -m)-linux-gnu

# ---- recipes -------------------------------------------------------------------------------------

ifneq ($(V),1)
Q := @
say = @printf '  %-8s %s\n' '$(1)' '$(2)';
endif

.PHONY: all FORCE
all: $(BINARIES) $(SKELETONS)

$(FLAGS_MK): Makefile
	@mkdir -p $(@D)
	@command -v $(firstword $(CC)) >/dev/null || { \
		echo "make: the compiler '$(CC)' is not installed; run 'make deps' as root" >&2; exit 1; }
	@for f in $(PROBE_FLAGS); do \
		if $(CC) -Werror -O2 $$f -x c -c /dev/null -o /dev/null 2>/dev/null; then \
			echo "FLAGS += $$f"; fi; done >$@

# Files that change only when their content does: another compiler or flag recompiles, another
# list of sources makes the archive anew.
REMEMBERED := $(B)/obj/command $(B)/gen/commit.h $(ARCHIVES:.a=.sources) $(A)/libtest.sources
$(B)/obj/command: REMEMBER = $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL)
$(A)/libbase.sources: REMEMBER = $(BASE_SRC)
$(A)/libproto.sources: REMEMBER = $(PROTO_SRC) $(PROTOS)
$(A)/libagent.sources: REMEMBER = $(AGENT_SRC)
$(A)/libcollector.sources: REMEMBER = $(COLLECTOR_SRC)
$(A)/libcli.sources: REMEMBER = $(CLI_SRC)
$(A)/libtest.sources: REMEMBER = $(TEST_HELP_SRC)
$(REMEMBERED): FORCE
	@mkdir -p $(@D); echo '$(REMEMBER)' | cmp -s - $@ || echo '$(REMEMBER)' >$@

# What manifests name as the source: the commit, "-dirty" when tracked files differ from it; "unknown" outside of our own
# git tree, where COMMIT=... says it. Optional locks: a build must not stop somebody's commit.
COMMIT ?= $(shell test -z "$$(git rev-parse --show-prefix 2>/dev/null || echo none)" && \
	GIT_OPTIONAL_LOCKS=0 git describe --always --abbrev=40 --dirty --exclude='*' 2>/dev/null || echo unknown)
$(B)/gen/commit.h: REMEMBER = \#define BUILD_COMMIT "$(COMMIT)"
$(call obj,agent/orders_tool.c): | $(B)/gen/commit.h

$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h: proto/%.proto $(PROTOS)
	@mkdir -p $(@D)
	$(call say,PROTOC,$<)protoc-c -Iproto --c_out=$(B)/gen $<

$(B)/gen/python/%_pb2.py: proto/%.proto $(PROTOS)
	@mkdir -p $(@D)
	$(call say,PROTOC,$@)protoc -Iproto --python_out=$(@D) $<

$(B)/bpf/%.bpf.o: bpf/%.bpf.c Makefile
	@mkdir -p $(@D)
	$(call say,BPF,$<)$(CLANG) $(BPF_FLAGS) -MMD -MP -MF $(@:.o=.d) -MT $@ -c $< -o $@
	$(Q)llvm-strip -g $@

$(B)/gen/%.skel.h: $(B)/bpf/%.bpf.o
	@mkdir -p $(@D)
	$(call say,SKEL,$@)$(BPFTOOL) gen skeleton $< >$@

# -MD, not -MMD: generated headers count as system headers, and must be seen when they change.
$(B)/obj/%.o: %.c $(B)/obj/command | $(PB_H)
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS_ALL) -include proto/base/banned.h $(CFLAGS_ALL) -MD -MP -c $< -o $@

$(B)/obj/gen/%.o: $(B)/gen/%.c $(B)/obj/command | $(PB_H)
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -w -MD -MP -c $< -o $@

$(call obj,$(AGENT_SRC) agent/main.c): | $(SKELETONS)

$(A)/libbase.a: $(call obj,$(BASE_SRC))
$(A)/libproto.a: $(call obj,$(PROTO_SRC)) $(patsubst $(B)/gen/%.c,$(B)/obj/gen/%.o,$(PB_C))
$(A)/libagent.a: $(call obj,$(AGENT_SRC))
$(A)/libcollector.a: $(call obj,$(COLLECTOR_SRC))
$(A)/libcli.a: $(call obj,$(CLI_SRC))
$(A)/libtest.a: $(call obj,$(TEST_HELP_SRC))
# q, not r: two folders of one archive may hold files of the same name.
$(ARCHIVES) $(A)/libtest.a: $(A)/%.a: $(A)/%.sources
	$(call say,AR,$@)rm -f $@ && ar qcs $@ $(filter %.o,$^)

link = $(CC) $(LDFLAGS_ALL) -o $@ -Wl,--start-group $(filter %.o %.a,$^) -Wl,--end-group

$(B)/bin/exhibit-agent: $(call obj,agent/main.c) $(A)/libagent.a $(A)/libproto.a $(A)/libbase.a
$(B)/bin/exhibit-agent: LIBS = $(LIBS_AGENT)
$(B)/bin/exhibit-collector: $(call obj,collector/main.c) $(A)/libcollector.a $(A)/libproto.a $(A)/libbase.a
$(B)/bin/exhibit-collector: LIBS = $(LIBS_COLLECTOR)
$(B)/bin/exhibit: $(call obj,collector/cli/main.c) $(A)/libcli.a $(A)/libcollector.a $(A)/libproto.a $(A)/libbase.a
$(B)/bin/exhibit: LIBS = $(LIBS_COLLECTOR)
$(BINARIES):
	@mkdir -p $(@D)
	$(call say,LD,$@)$(link) $(LIBS)

# ---- tests ---------------------------------------------------------------------------------------

# A test named after a module links what that module's folder may know; any other links everything.
known_by = $(or \
	$(if $(wildcard proto/base/$(1).c),$(A)/libbase.a), \
	$(if $(wildcard proto/$(1).c),$(A)/libproto.a $(A)/libbase.a), \
	$(if $(wildcard agent/$(1).c agent/*/$(1).c),$(A)/libagent.a $(A)/libproto.a $(A)/libbase.a), \
	$(if $(wildcard collector/$(1).c collector/cli/$(1).c),$(filter-out %/libagent.a,$(ARCHIVES))), \
	$(ARCHIVES))

# $(1): binary  $(2): its object  $(3): its archives
define test_rule
$(1): $(2) $(3)
$(2): | $$(if $$(filter %/libagent.a,$(3)),$$(SKELETONS))
endef
$(foreach t,$(UNIT),$(eval $(call test_rule,$(B)/tests/$(t),$(B)/obj/tests/unit/$(t).o,$(call known_by,$(t:test_%=%)))))
$(foreach t,$(FUZZ),$(eval $(call test_rule,$(B)/fuzz/$(t),$(B)/obj/tests/fuzz/$(t).o,$(call known_by,$(t:fuzz_%=%)))))

$(addprefix $(B)/tests/,$(UNIT)): $(A)/libtest.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(link) -lcmocka $(LIBS_ALL)

# Under SAN=fuzz libFuzzer brings the main, else ours replays files.
$(addprefix $(B)/fuzz/,$(FUZZ)): $(if $(filter fuzz,$(SAN)),,$(B)/obj/tests/fuzz/replay_main.o)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(link) $(if $(filter fuzz,$(SAN)),-fsanitize=fuzzer) $(LIBS_ALL)

# Shims are preloaded under the shipped binaries by system tests.
$(B)/tests/shim_%.so: tests/system/shim_%.c $(B)/obj/command
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS_ALL) $(filter-out -fPIE,$(CFLAGS_ALL)) -fPIC -shared -MMD -MP -MF $(@:.so=.d) $< -o $@ -ldl -lpthread

# Drivers do one module's work under a shim.
$(DRIVERS): $(B)/tests/%: $(B)/obj/tests/system/%.o $(B)/obj/tests/system/marks.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(link) $(LIBS_ALL)

# What the workload starts over and over: no dynamic linker's part.
$(B)/bench/tiny: tests/bench/tiny.c
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) -O2 -static -o $@ $<

$(B)/bench/%: $(B)/obj/tests/bench/%.o $(B)/obj/tests/bench/synthetic.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(link) $(LIBS_ALL)

.PHONY: unit unit-build fuzz-build fuzz-replay fuzz-run system system-build bench-build validation-build
unit-build: $(UNIT_BINARIES)
unit: unit-build
	@tests/unit/run.sh $(UNIT_BINARIES)

fuzz-build: $(FUZZ_BINARIES)
fuzz-replay: fuzz-build
	@tests/fuzz/run.sh replay $(FUZZ_BINARIES)

fuzz-run: fuzz-build
	@FOUND=$(FOUND) SECONDS_EACH=$(SECONDS_EACH) tests/fuzz/run.sh fuzz $(FUZZ_BINARIES)

system-build: all $(SHIMS) $(DRIVERS) $(PB_PY)
system: system-build
	PYTHONDONTWRITEBYTECODE=1 EXHIBIT_BUILD=$(abspath $(B)) tests/system/run.sh $(PYTHON) \
		$(if $(EXHIBIT_FULL),900,300) $(PYTEST)

bench-build: all $(BENCHES) $(B)/tests/driver_acquire $(B)/tests/driver_physical $(B)/tests/driver_odd $(B)/tests/driver_recorder

# What is dumped while it counts (tests/validation/README.md).
$(B)/validation/counters: tests/validation/counters.c
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -pthread -o $@ $<

validation-build: system-build $(B)/validation/counters

# Run in guests: no library of this machine.
GUEST_PROGRAMS := $(B)/kernels/workload $(B)/kernels/planted
$(B)/kernels/workload: tests/unit/uring.c tests/unit/uring.h
$(GUEST_PROGRAMS): $(B)/kernels/%: tests/kernels/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -I. -static -o $@ $(filter %.c,$^)

# The examiner's tool, from its own registry: Debian has no package of it. Without jsonschema, with which it
# would validate each symbol file for minutes.
VOLATILITY := 2.28.2
GUEST_TOOLS := $(B)/tests/driver_acquire $(B)/tests/driver_odd $(B)/tests/driver_derive $(B)/kernels/volatility/bin/vol
$(B)/kernels/volatility/bin/vol:
	@mkdir -p $(@D)
	$(call say,PIP,$@)$(PYTHON) -m venv $(B)/kernels/volatility && \
		$(B)/kernels/volatility/bin/pip install -q --disable-pip-version-check volatility3==$(VOLATILITY)

$(B)/obj/collector/derive.o: collector/volatility/exhibit_la57.py

# ---- what people type ----------------------------------------------------------------------------

.PHONY: help run test test-full asan asan-unit fuzz coverage bench validation lint lint-text lint-format lint-tidy format clean install deps test-deps lint-deps validation-deps bench-deps kernel-deps kernels
help:
	@sed -n 's/^#: //p' Makefile

#: make              build everything into build/bin (B=DIR: elsewhere, CC=clang, V=1)
#: make run          install what the build needs, build, run collector and agent on this host
#: make test         install what tests need; unit tests, fuzz corpora, system tests
#: make test-full    the same with every count (EXHIBIT_FULL=1), then kernels and validation
#: make unit         unit tests alone (T="reader writer": only these; also for fuzz-replay)
#: make fuzz-replay  every fuzz target over its corpus
#: make system       system tests alone (PYTEST="-k name": more arguments)
#: make kernels      Debian's kernels 5.10 to the newest in QEMU: what runs there (PYTEST="-k 5.10": one)
#: make asan         unit tests and fuzz corpora under AddressSanitizer and UBSan
#: make fuzz         libFuzzer, SECONDS_EACH=20 per target; finds go to build/fuzz/found
#: make coverage     line coverage of the unit tests
#: make bench        one table of costs, sizes and speeds beside their aims, in ten minutes (EXHIBIT_FULL=1: 5 million events)
#: make validation   acquisitions tried by CFTT-style assertions; report in build/validation (KINDS="disk core": only these)
#: make lint         clang-format, clang-tidy, SPDX lines, shellcheck
#: make format       clang-format in place
#: make install      DESTDIR= PREFIX=/usr: binaries, man pages, completion, units, configuration (COMPONENTS=agent: only it)
#: make deps         apt packages for the build (test-deps, lint-deps: for tests, for lint)
#: make clean        remove build folders

run: deps
	@$(MAKE) --no-print-directory -j$(JOBS) B=$(B) all
	@B=$(B) deploy/run/run.sh

test: deps test-deps
	@$(MAKE) --no-print-directory -j$(JOBS) B=$(B) all unit-build fuzz-build system-build
	@$(MAKE) --no-print-directory B=$(B) unit
	@$(MAKE) --no-print-directory B=$(B) fuzz-replay
	@$(MAKE) --no-print-directory B=$(B) system

test-full:
	@EXHIBIT_FULL=1 $(MAKE) --no-print-directory B=$(B) test
	@EXHIBIT_FULL=1 $(MAKE) --no-print-directory B=$(B) kernels
	@EXHIBIT_FULL=1 EXHIBIT_GUESTS= $(MAKE) --no-print-directory B=$(B) validation

# Kernels come from Debian's archive, by an apt whose lists and cache lie in the build folder.
kernels: deps kernel-deps
	@$(MAKE) --no-print-directory -j$(JOBS) B=$(B) all $(GUEST_PROGRAMS) \
		$(GUEST_TOOLS)
	PYTHONDONTWRITEBYTECODE=1 EXHIBIT_BUILD=$(abspath $(B)) $(PYTHON) -m pytest -p no:cacheprovider \
		--timeout=1200 -q tests/kernels $(PYTEST)

asan-unit:
	@$(MAKE) --no-print-directory -j$(JOBS) B=$(B)-asan SAN=1 unit-build
	@$(MAKE) --no-print-directory B=$(B)-asan SAN=1 unit

asan: asan-unit
	@$(MAKE) --no-print-directory -j$(JOBS) B=$(B)-asan SAN=1 fuzz-build
	@$(MAKE) --no-print-directory B=$(B)-asan SAN=1 fuzz-replay

fuzz:
	@$(MAKE) --no-print-directory -j$(JOBS) B=$(B)-fuzz CC=$(CLANG) SAN=fuzz fuzz-build
	@$(MAKE) --no-print-directory B=$(B)-fuzz CC=$(CLANG) SAN=fuzz FOUND=$(B)/fuzz/found fuzz-run

coverage:
	@$(MAKE) --no-print-directory -j$(JOBS) B=$(B)-coverage COV=1 unit-build
	@$(MAKE) --no-print-directory B=$(B)-coverage COV=1 unit
	@gcovr --root . --exclude tests/ --exclude '.*/gen/' $(B)-coverage | cut -c 1-66

bench: deps bench-deps
	@$(MAKE) --no-print-directory -j$(JOBS) B=$(B) bench-build
	@EXHIBIT_BUILD=$(abspath $(B)) $(PYTHON) tests/bench/run $(BENCH)

validation: deps test-deps validation-deps
	@$(MAKE) --no-print-directory -j$(JOBS) B=$(B) validation-build
	@EXHIBIT_BUILD=$(abspath $(B)) $(PYTHON) tests/validation/run $(KINDS)

OURS_C = $(wildcard bpf/*.[ch] proto/*.[ch] proto/base/*.[ch] agent/*.[ch] agent/*/*.[ch] \
	collector/*.[ch] collector/*/*.[ch] tests/*/*.[ch])
TIDY_C = $(filter-out bpf/%,$(filter %.c,$(OURS_C)))

format:
	$(Q)clang-format -i $(OURS_C)

lint: deps lint-deps
	@$(MAKE) --no-print-directory -k -j$(JOBS) B=$(B) lint-text lint-format lint-tidy

lint-text:
	@tests/lint.sh

lint-format:
	$(call say,FORMAT,$(words $(OURS_C)) files)bad=0; for f in $(OURS_C); do \
		clang-format --dry-run -Werror $$f 2>/dev/null || { \
			echo "$$f: not formatted; run 'make format'"; bad=1; }; done; exit $$bad

# One file at a time: clang-tidy 14 confuses va_list across files.
TIDY_FLAGS = -std=gnu11 $(CPPFLAGS_ALL) -include proto/base/banned.h
lint-tidy: $(PB_H) $(SKELETONS) $(B)/gen/commit.h
	$(call say,TIDY,$(words $(TIDY_C)) files)printf '%s\n' $(TIDY_C) | xargs -P $(JOBS) -n 1 \
		sh -c 'clang-tidy --quiet "$$@" -- $(TIDY_FLAGS) 2>/dev/null' tidy

clean:
	rm -rf $(B) $(B)-asan $(B)-clang $(B)-coverage $(B)-fuzz

# ---- installing ----------------------------------------------------------------------------------

# One target for people, packages and images. COMPONENTS: which of agent, collector, cli.
COMPONENTS ?= agent collector cli
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSCONFDIR ?= /etc
put = install -D -m 644 $(1) $(DESTDIR)$(2)
# What somebody configured stays.
put_config = @[ -e $(DESTDIR)$(2) ] || install -D -m 644 $(1) $(DESTDIR)$(2)
# The manual is written by the program itself, from the tables that it runs by.
put_man = @install -d $(DESTDIR)$(PREFIX)/share/man/man$(2) && \
	$(B)/bin/$(1) --print-man >$(DESTDIR)$(PREFIX)/share/man/man$(2)/$(1).$(2) && \
	chmod 644 $(DESTDIR)$(PREFIX)/share/man/man$(2)/$(1).$(2)

.PHONY: install-agent install-collector install-cli
install: $(addprefix install-,$(COMPONENTS))
install-agent install-collector: install-%: $(B)/bin/exhibit-%
	install -D -m 755 $< $(DESTDIR)$(PREFIX)/sbin/exhibit-$*
	$(call put_man,exhibit-$*,8)
	$(call put_config,deploy/config/$*.yaml,$(SYSCONFDIR)/exhibit/$*.yaml)
	$(call put,deploy/systemd/exhibit-$*.service,$(UNITDIR)/exhibit-$*.service)
	$(call put,deploy/systemd/exhibit-$*.sysusers,$(PREFIX)/lib/sysusers.d/exhibit-$*.conf)
	$(call put,deploy/systemd/exhibit-$*.tmpfiles,$(PREFIX)/lib/tmpfiles.d/exhibit-$*.conf)
	$(call put,deploy/systemd/80-exhibit-$*.preset,$(PREFIX)/lib/systemd/system-preset/80-exhibit-$*.preset)
	@[ $(PREFIX) = /usr ] || sed -i 's,=/usr/sbin/,=$(PREFIX)/sbin/,' $(DESTDIR)$(UNITDIR)/exhibit-$*.service

install-cli: $(B)/bin/exhibit
	install -D -m 755 $< $(DESTDIR)$(PREFIX)/bin/exhibit
	$(call put_man,exhibit,1)
	@install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions && \
		$(B)/bin/exhibit completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/exhibit && \
		chmod 644 $(DESTDIR)$(PREFIX)/share/bash-completion/completions/exhibit

DEPS := gcc clang llvm bpftool pkg-config libbpf-dev libelf-dev zlib1g-dev libprotobuf-c-dev \
	protobuf-c-compiler protobuf-compiler libgrpc-dev libzstd-dev libssl-dev libyaml-dev \
	libsystemd-dev libsqlite3-dev libcurl4-openssl-dev libjansson-dev libseccomp-dev libcap-dev libpcap-dev openssl
TEST_DEPS := libcmocka-dev gdb python3-pytest python3-pytest-timeout python3-pytest-xdist python3-grpcio \
	python3-protobuf python3-cryptography python3-zstandard python3-yaml python3-boto3 python3-venv softhsm2 \
	libengine-pkcs11-openssl libclang-rt-14-dev iproute2 libcap2-bin bash-completion mandoc ceph-mon ceph-osd \
	radosgw ceph-common tshark tcpdump golang-go golang-golang-x-mod-dev containerd runc podman conmon busybox-static
LINT_DEPS := clang-format clang-tidy gcovr shellcheck git
KERNEL_DEPS := qemu-system-x86 busybox-static cpio e2fsprogs xz-utils zstd dmsetup python3-pytest python3-pytest-timeout python3-venv
VALIDATION_DEPS := strace util-linux iproute2 python3-venv
BENCH_DEPS := python3-yaml iproute2 ripgrep util-linux gdb tshark tcpdump bpftool netsniff-ng

# Says nothing when all is there.
apt = @missing=; for p in $(1); do \
	case $$(dpkg-query -W -f='$${Status}' $$p 2>/dev/null) in \
	*'ok installed'*) ;; *) missing="$$missing $$p";; esac; done; \
	[ -z "$$missing" ] && exit 0; \
	command -v apt-get >/dev/null || { \
		echo "make: this is not Debian; install by hand what these packages hold:$$missing" >&2; exit 1; }; \
	[ "$$(id -u)" = 0 ] || { \
		echo "make: packages are missing; run as root: apt-get install -y$$missing" >&2; exit 1; }; \
	echo "  APT     $$missing"; \
	apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null

deps:
	$(call apt,$(DEPS))
test-deps: deps
	$(call apt,$(TEST_DEPS))
lint-deps: deps
	$(call apt,$(LINT_DEPS))
bench-deps: deps
	$(call apt,$(BENCH_DEPS))
validation-deps: deps
	$(call apt,$(VALIDATION_DEPS))
kernel-deps: deps
	$(call apt,$(KERNEL_DEPS))

-include $(shell find $(B)/obj $(B)/bpf $(B)/tests -name '*.d' 2>/dev/null)
