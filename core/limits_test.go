package core

import (
	"errors"
	"strings"
	"testing"
)

func TestMaxMemoryRefusesWhatCannotBeCounted(t *testing.T) {
	limit := uint64(64 << 20)
	for _, name := range uncounted {
		p := policy()
		p.ExtraAllowSyscalls = []string{name}
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p.MaxMemory = &limit
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), "together with max_memory") {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := policy()
	without := mustCompile(t, p).filter.String()
	p.MaxMemory = &limit
	if with := mustCompile(t, p).filter.String(); with == without {
		t.Error("max_memory lets memfd_secret through")
	}
}

func TestLimitsNeedTheListsOfChildren(t *testing.T) {
	k := Probe()
	if !k.Children {
		t.Fatal("this kernel, on which the limits work, has no lists of children")
	}
	k.Children = false
	memory, cpu := uint64(64<<20), uint32(50)
	for name, set := range map[string]func(*Policy){
		"max_memory": func(p *Policy) { p.MaxMemory = &memory }, "max_cpu": func(p *Policy) { p.MaxCPU = &cpu },
	} {
		p := policy()
		if err := mustCompile(t, p).check(k); err != nil {
			t.Error(err)
		}
		set(p)
		if err := mustCompile(t, p).check(k); !errors.Is(err, ErrNotSupported) || !strings.Contains(err.Error(), "CONFIG_PROC_CHILDREN") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
