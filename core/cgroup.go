package core

import (
	"errors"
	"fmt"

	"github.com/sandlock/sandlock/core/internal/cgroup"
	"github.com/sandlock/sandlock/core/internal/warden"
	"golang.org/x/sys/unix"
)

// makeCgroup makes a cgroup for a run that has a max_memory, where one can be had. Where not,
// and whenever something fails on the way, the warden measures.
func (s *Sandbox) makeCgroup(spec *warden.Spec) {
	parent := hostKernel().MemoryCgroup
	if s.plan.maxMemory == nil || parent == "" {
		return
	}
	err := errors.New("a path of fs_writable holds cgroups, whose limits the command could change")
	if !writesAny(s.plan.writable, mount.isCgroup) {
		s.cgroup, err = cgroup.New(parent, *s.plan.maxMemory)
	}
	if err != nil {
		s.logMeasured(err)
		return
	}
	spec.Cgroup = s.cgroup.FD()
}

func (s *Sandbox) logMeasured(why error) { s.logf("max_memory is measured, without a cgroup: %v", why) }

// bornInCgroup takes what the warden says of that.
func (s *Sandbox) bornInCgroup(m warden.Message) {
	if s.cgroup != nil && m.CgroupErrno != 0 {
		s.logMeasured(fmt.Errorf("the command can't be born in one: %w", unix.Errno(m.CgroupErrno)))
		s.closeCgroup()
	}
}

func (s *Sandbox) closeCgroup() {
	if s.cgroup != nil {
		s.cgroup.Close()
		s.cgroup = nil
	}
}

// memoryKilled says what max_memory has done, "" when that was nothing.
func memoryKilled(m warden.Message) string {
	if m.MemoryVictim != 0 {
		return fmt.Sprintf("max_memory: process %d, which held most, was killed when the sandbox held %d bytes", m.MemoryVictim, m.MemoryFound)
	}
	if m.CgroupKilled != 0 {
		return fmt.Sprintf("max_memory: the kernel has killed %d processes of the sandbox, each when it held most, since there was no more memory to be had", m.CgroupKilled)
	}
	return ""
}
