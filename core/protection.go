package core

import (
	"fmt"
	"strings"

	"github.com/sandlock/sandlock/core/internal/landlock"
)

// Protection names a part of Landlock that a kernel may lack. The values and
// names are those of policy.md, section 8.
type Protection uint32

const (
	FSRefer Protection = iota
	FSTruncate
	NetTCP
	FSIoctlDev
	SignalScope
	AbstractUnixSocketScope
)

// MinLandlockABI is the ABI that has every Protection.
const MinLandlockABI = 6

// protections in the order of their values; the kernels are those of
// landlock(7), "VERSIONS".
var protections = [...]struct {
	name      string
	minABI    int
	minKernel string
}{
	FSRefer:                 {"fs-refer", 2, "5.19"},
	FSTruncate:              {"fs-truncate", 3, "6.2"},
	NetTCP:                  {"net-tcp", 4, "6.7"},
	FSIoctlDev:              {"fs-ioctl-dev", 5, "6.10"},
	SignalScope:             {"signal-scope", 6, "6.12"},
	AbstractUnixSocketScope: {"abstract-unix-socket-scope", 6, "6.12"},
}

// Valid reports whether p is one of the constants.
func (p Protection) Valid() bool { return int(p) < len(protections) }

func (p Protection) String() string {
	if !p.Valid() {
		return fmt.Sprintf("Protection(%d)", uint32(p))
	}
	return protections[p].name
}

// MinABI returns the first Landlock ABI that has the protection, 0 for an
// unknown one.
func MinABI(p Protection) int {
	if !p.Valid() {
		return 0
	}
	return protections[p].minABI
}

// ParseProtection takes a name such as "fs-refer" or "FS_REFER".
func ParseProtection(name string) (Protection, error) {
	plain := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	for i, p := range protections {
		if p.name == plain {
			return Protection(i), nil
		}
	}
	return 0, fmt.Errorf("unknown protection %s; known are %s", quote(name), protectionNames())
}

func protectionNames() string {
	names := make([]string, len(protections))
	for i, p := range protections {
		names[i] = p.name
	}
	return strings.Join(names, ", ")
}

// LandlockABIVersion returns the ABI of the running kernel, -1 when it has no
// Landlock or it is off.
func LandlockABIVersion() int {
	abi, err := landlock.ABI()
	if err != nil {
		return -1
	}
	return abi
}
