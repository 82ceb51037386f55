# make            the warden, libsandlock.so, the tool and, in place, the Python package
# make test       everything that tests; fetches what it needs (tests/setup)
# make race       the Go tests with the race detector
# make test-apps  PostgreSQL, Redis, their clients and Chromium in a sandbox; installs them
# make test-cpython  CPython's own tests, in a sandbox and over Sandbox.popen; installs them
# make test-vm    some of the tests on Debian's kernels, in qemu, under each of Yama's
#                 ptrace scopes; installs qemu, downloads the kernels
# make bench      the measurements beside their peers
# make soak       the long forms of the tests that have one
# make fuzz       each fuzz target for FUZZTIME
# make install    PREFIX= DESTDIR= LIBDIR= BINDIR= DATADIR=
# make lint       gofmt, go vet, mypy --strict, shellcheck
# make cross      compiles the warden and the Go code for arm64, too
#
# GOFLAGS reaches the Go tests: GOFLAGS=-race make test.

VERSION := $(shell sed -n 's/.*sandlock_version(void).*"\(.*\)".*/\1/p' capi/exports.c)
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share
FUZZTIME ?= 10s
GO ?= go
PYTHON ?= python3
# What the tests' own command lines get besides, for instance -v and -rs.
GOTESTFLAGS ?=
PYTESTFLAGS ?=

# landlocktsync keeps libpsx, which replaces the host's system calls, out of the
# library: go-landlock's build tag.
TAGS := -tags landlocktsync
GOARCH := $(shell $(GO) env GOARCH)
ifeq ($(GOARCH),)
$(error no Go toolchain: install Go (the version in go.mod, or later), or give GO=/path/to/go)
endif

# A user whose home can't be written (a service, a build daemon) still builds.
writable = $(shell mkdir -p '$(1)' 2>/dev/null && test -w '$(1)' && echo yes)
ifneq ($(call writable,$(shell $(GO) env GOCACHE 2>/dev/null)),yes)
export GOCACHE := $(CURDIR)/build/gocache
endif
ifneq ($(call writable,$(shell $(GO) env GOMODCACHE 2>/dev/null)),yes)
export GOMODCACHE := $(CURDIR)/build/gomodcache
export GOFLAGS := $(GOFLAGS) -modcacherw
endif

.DELETE_ON_ERROR:
.PHONY: all warden test go-test race python-test test-setup test-apps test-cpython test-vm bench soak fuzz install clean lint vet cross FORCE

LIB := build/libsandlock.so.0
TOOL := build/sandlock
all: libsandlock.so $(TOOL) python/src/sandlock/libsandlock.so.0 python/src/sandlock/bin/sandlock

# ---- the warden -----------------------------------------------------------
# Freestanding: it runs no constructor and no libc start code, so nothing that
# these would set up (stack protector, IBT notes, TLS) may be used, nor what libgcc
# has (outlined atomics).
WARDEN_DIR := core/internal/warden
WARDEN := $(WARDEN_DIR)/warden_$(GOARCH).elf
WARDEN_CFLAGS := -O2 -static -nostdlib -ffreestanding -fno-stack-protector -fno-builtin \
	-Wall -Wextra -Werror -Wl,--build-id=none -Wl,-z,noexecstack -s
WARDEN_CFLAGS_amd64 := -fcf-protection=none
WARDEN_CFLAGS_arm64 := -mno-outline-atomics
WARDEN_CC_amd64 ?= $(CC)
WARDEN_CC_arm64 ?= $(CC)

warden: $(WARDEN)
$(WARDEN_DIR)/warden_%.elf: $(wildcard $(WARDEN_DIR)/*.[ch]) Makefile
	$(WARDEN_CC_$*) $(WARDEN_CFLAGS) $(WARDEN_CFLAGS_$*) -o $@ $(filter %.c,$^)

# ---- the library ------------------------------------------------------------
# Always asked of the go command, which knows what is up to date. -race is for
# the tests: a library with the race detector in it can't be loaded by a host.
# asyncpreemptoff (runtime's "Environment Variables"): the SIGURG with which the runtime
# preempts a thread can arrive when the thread is the host's again, and end a poll(2).
SONAME := libsandlock.so.0
LIB_LDFLAGS := -s -w -X runtime.godebugDefault=asyncpreemptoff=1 -extldflags "-Wl,-soname,$(SONAME) -Wl,--version-script=$(CURDIR)/capi/sandlock.map -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack"
$(LIB): $(WARDEN) FORCE
	@mkdir -p build
	GOFLAGS='$(filter-out -race,$(GOFLAGS))' $(GO) build $(TAGS),sandlock_capi -trimpath -buildmode=c-shared \
		-ldflags '$(LIB_LDFLAGS)' -o build/lib.so ./capi
	@rm -f build/lib.h; if cmp -s build/lib.so $@; then rm build/lib.so; else mv build/lib.so $@; fi

libsandlock.so.0: $(LIB)
	ln -sf $(LIB) $@
libsandlock.so: libsandlock.so.0
	ln -sf $(SONAME) $@
python/src/sandlock/libsandlock.so.0: $(LIB)
	ln -sf ../../../$(LIB) $@

# ---- the tool ---------------------------------------------------------------
# One static file: no cgo.
$(TOOL): $(WARDEN) FORCE
	@mkdir -p build
	GOFLAGS='$(filter-out -race,$(GOFLAGS))' CGO_ENABLED=0 $(GO) build $(TAGS) -trimpath \
		-ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/sandlock

python/src/sandlock/bin/sandlock: $(TOOL)
	@mkdir -p $(@D)
	ln -sf ../../../../$(TOOL) $@

# ---- tests ------------------------------------------------------------------
test: all test-setup vet go-test python-test

test-setup:
	tests/setup/packages strace git bzip2 nodejs cargo pkg-config g++ curl wget iproute2 iputils-ping default-jre-headless tmux vim less
	PYTHON='$(PYTHON)' tests/setup/venv

vet: $(WARDEN)
	$(GO) vet $(TAGS) ./...

# Not cached: what is tested is the kernel beneath as much as the code.
go-test: all test-setup
	$(GO) test $(TAGS) -count=1 -timeout 20m $(GOTESTFLAGS) ./...

# The race detector sees what Go does in this process: not the warden, nor programs, nor hosts
# in C, nor what is done by one goroutine alone, such as compiling a filter.
RACE_PACKAGES := ./cmd/... ./core $(addprefix ./core/internal/,audit cgroup handler notify sys virtual warden) ./tests/attacks
RACE_SKIP := ^Test(MaxMemory|BelowMaxMemory|MaxCPU|MaxProcesses|Siblings|ForkBomb|ForksThat|ForksUnder|TracedFromBirth|Held|HostKilled|Faults|GitHistory|MatchingTail|ChangedFile)
race: all test-setup
	$(GO) test -race $(TAGS) -count=1 -timeout 20m -skip '$(RACE_SKIP)' $(GOTESTFLAGS) $(RACE_PACKAGES)

# A shell without job control starts what is in its background with SIGINT ignored, which
# everything that is started by it inherits. A test that hangs tells where.
PYTEST := env --default-signal=INT build/venv/bin/python -m pytest -p no:cacheprovider -o faulthandler_timeout=300
python-test: all test-setup
	PYTHONPATH=python/src $(PYTEST) -q $(PYTESTFLAGS) python/tests tests/house tests/apps

test-apps: all test-setup
	tests/setup/packages postgresql redis-server chromium
	SANDLOCK_TEST_SERVERS=1 $(GO) test $(TAGS) -count=1 -v $(GOTESTFLAGS) ./tests/apps

# Debian's own Python, whose tests the package has.
test-cpython: all
	tests/setup/packages libpython3-testsuite
	PYTHONPATH=python/src /usr/bin/python3 tests/cpython/run.py
	PYTHONPATH=python/src /usr/bin/python3 tests/cpython/compare.py files
	PYTHONPATH=python/src /usr/bin/python3 tests/cpython/compare.py network

# Metapackages, older kernels first; those that the distribution lacks are left out.
VM_KERNELS ?= linux-image-cloud-amd64 linux-image-6.12-cloud-amd64
test-vm: all
	tests/setup/packages qemu-system-x86 cpio
	GO='$(GO)' tests/vm/run $(VM_KERNELS)

soak: all test-setup
	SANDLOCK_SOAK=1 $(GO) test $(TAGS) -count=1 -timeout 3h -v $(GOTESTFLAGS) ./...
	SANDLOCK_SOAK=1 PYTHONPATH=python/src $(PYTEST) -q $(PYTESTFLAGS) python/tests tests/house

# go test runs one fuzz target at a time.
fuzz: $(WARDEN)
	@for package in $$($(GO) list $(TAGS) ./...); do \
		for target in $$($(GO) test $(TAGS) -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test $(TAGS) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

bench: all
	tests/setup/packages bubblewrap redis-server
	$(MAKE) -C bench GO='$(GO)' PYTHON='$(PYTHON)'

lint: test-setup $(WARDEN)
	@unformatted=$$(gofmt -l core capi cmd tests bench); test -z "$$unformatted" || { echo "gofmt -w $$unformatted"; exit 1; }
	$(GO) vet $(TAGS) ./...
	build/venv/bin/python -m mypy --strict python/src examples/audit_build.py
	! command -v shellcheck >/dev/null || shellcheck .ci/run tests/setup/packages tests/setup/venv tests/vm/run

# Only the compilers can be asked here, but they know the other numbers and types.
cross:
	$(MAKE) $(WARDEN_DIR)/warden_arm64.elf WARDEN_CC_arm64=aarch64-linux-gnu-gcc
	GOARCH=arm64 CGO_ENABLED=0 $(GO) vet $(TAGS) ./core/... ./cmd/...

# ---- install ------------------------------------------------------------------
define PC
prefix=$(PREFIX)
libdir=$(LIBDIR)
includedir=$(INCLUDEDIR)

Name: sandlock
Description: Run commands that nobody trusts, confined by Landlock and seccomp
Version: $(VERSION)
Libs: -L$${libdir} -lsandlock
Cflags: -I$${includedir}
endef
export PC

# Root installs what another user has built, and needs no Go for it.
install:
	@test -e $(LIB) -a -e $(TOOL) || $(MAKE) all
	install -d '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(INCLUDEDIR)' '$(DESTDIR)$(BINDIR)'
	install -m 0755 $(TOOL) '$(DESTDIR)$(BINDIR)/sandlock'
	install -d '$(DESTDIR)$(DATADIR)/man/man1' '$(DESTDIR)$(DATADIR)/man/man3' '$(DESTDIR)$(DATADIR)/bash-completion/completions' \
		'$(DESTDIR)$(DATADIR)/zsh/site-functions' '$(DESTDIR)$(DATADIR)/fish/vendor_completions.d'
	install -m 0644 docs/man/sandlock.1 '$(DESTDIR)$(DATADIR)/man/man1/sandlock.1'
	install -m 0644 docs/man/sandlock.3 '$(DESTDIR)$(DATADIR)/man/man3/sandlock.3'
	$(TOOL) completion bash > '$(DESTDIR)$(DATADIR)/bash-completion/completions/sandlock'
	$(TOOL) completion zsh > '$(DESTDIR)$(DATADIR)/zsh/site-functions/_sandlock'
	$(TOOL) completion fish > '$(DESTDIR)$(DATADIR)/fish/vendor_completions.d/sandlock.fish'
	install -m 0755 $(LIB) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libsandlock.so'
	install -m 0644 include/sandlock.h '$(DESTDIR)$(INCLUDEDIR)/sandlock.h'
	printf '%s\n' "$$PC" > '$(DESTDIR)$(LIBDIR)/pkgconfig/sandlock.pc'

# Go's module cache is read-only by default, so rm alone can't take it away.
clean:
	chmod -R u+w build 2>/dev/null || :
	rm -rf build libsandlock.so libsandlock.so.0 python/src/sandlock/libsandlock.so.0 python/src/sandlock/bin $(WARDEN_DIR)/warden_*.elf
	find python tests -name __pycache__ -type d -prune -exec rm -rf {} +
