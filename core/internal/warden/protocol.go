package warden

import (
	"encoding/binary"
	"fmt"
)

// The wire format of protocol.h; see there for the meaning of each field.

const (
	requestMagic    = 0x534c5744
	protocolVersion = 3
	requestMax      = 16 << 20
	cpuBytes        = 1024
	requestSize     = 72 + cpuBytes + FilesMax/8
	orderSize       = 24
	killerOrderSize = 16
	messageSize     = 96

	fdSlots    = 7    // FD_SLOTS
	cmdlineMax = 2048 // CMDLINE_MAX
)

// FilesMax bounds the numbers of the command's descriptors.
const FilesMax = 8192

const (
	reqPark = 1 << iota
	reqListener
	reqInteractive
	reqNoCore
	reqNoTHP
	reqNoRandomize
	reqNoFile
	reqAffinity
	reqRuleset
	reqCwd
	reqWaitKillable
	reqMaxProcesses
	reqExecs
	reqWritesMemory
	reqExec
	reqTerminal
	reqCgroup
	reqLogDenials
	reqJobs
)

// Step is a step of the start, in the order they are taken.
type Step uint32

const (
	StepNone Step = iota
	StepRequest
	StepKillerDomain
	StepKillerProof
	StepKillerClone
	StepChildClone
	StepSession
	StepTerminal
	StepCwd
	StepCoreLimit
	StepTHP
	StepPersonality
	StepCloseRange
	StepCapabilities
	StepNoNewPrivs
	StepLandlock
	StepAffinity
	StepSeccomp
	StepTrace
	StepNoFile
	StepExec
	StepWalk
	StepLimits
)

var stepNames = [...]string{
	"none", "request", "killer domain", "killer proof", "clone of the killer", "clone of the command",
	"setsid", "terminal of the command", "fchdir", "setrlimit(RLIMIT_CORE)", "prctl(PR_SET_THP_DISABLE)",
	"personality(ADDR_NO_RANDOMIZE)", "close_range", "capset", "prctl(PR_SET_NO_NEW_PRIVS)", "landlock_restrict_self",
	"sched_setaffinity", "seccomp", "ptrace(PTRACE_SEIZE)", "setrlimit(RLIMIT_NOFILE)", "execve", "walk of the children", "measuring of a limit",
}

func (s Step) String() string {
	if int(s) < len(stepNames) {
		return stepNames[s]
	}
	return fmt.Sprintf("step %d", uint32(s))
}

// MessageType says what the warden reports.
type MessageType uint32

const (
	Created MessageType = iota + 1 // the child is confined; the listener comes with it
	Frozen                         // no other thread of the group runs
	Exec                           // stopped at PTRACE_EVENT_EXEC
	Ran                            // was there, with the arguments of the approval, and runs
	NoExec                         // an approved exec came to nothing
	End                            // every task is dead and reaped
	Stopped                        // the command has stopped, by the signal Status; Continue lets it go on
)

// NoExecReason says why an approved exec came to nothing.
type NoExecReason uint32

const (
	ExecFailed  NoExecReason = iota + 1 // it returned an error, or will be restarted
	ExecDied                            // the task died
	ExecGone                            // the notification was no longer there
	ExecRefused                         // tracing is refused: not answered, Errno says why
)

// Message is what the warden reports.
type Message struct {
	Type   MessageType
	PID    int32
	ID     uint64
	Reason NoExecReason
	Errno  int32
	Status uint32 // wait status of the command
	Step   Step   // that failed, with Errno

	Killer                   int32 // pid of the killer, in Created
	Walked                   bool  // the end came by the walk, not by the killer's domain
	UserMicros, SystemMicros uint64
	MaxRSS                   uint64 // bytes
	Processes                uint64 // that there were, if they were counted
	Limits                   uint32 // that were met: enum limit
	MemoryVictim             int32  // whom max_memory has killed first, 0 nobody
	MemoryFound              uint64 // bytes that there were then
	CgroupErrno              int32  // why the command could not be born in its cgroup; 0: it was
	CgroupKilled             uint32 // how many processes its limit has killed
}

var native = binary.NativeEndian

func decodeMessage(b []byte) (Message, bool) {
	if len(b) != messageSize {
		return Message{}, false
	}
	return Message{
		Type:         MessageType(native.Uint32(b[0:])),
		PID:          int32(native.Uint32(b[4:])),
		ID:           native.Uint64(b[8:]),
		Reason:       NoExecReason(native.Uint32(b[16:])),
		Errno:        int32(native.Uint32(b[20:])),
		Status:       native.Uint32(b[24:]),
		Step:         Step(native.Uint32(b[28:])),
		Walked:       native.Uint32(b[32:]) == 2,
		Killer:       int32(native.Uint32(b[36:])),
		UserMicros:   native.Uint64(b[40:]),
		SystemMicros: native.Uint64(b[48:]),
		MaxRSS:       native.Uint64(b[56:]),
		Processes:    native.Uint64(b[64:]),
		Limits:       native.Uint32(b[72:]),
		MemoryVictim: int32(native.Uint32(b[76:])),
		MemoryFound:  native.Uint64(b[80:]),
		CgroupErrno:  int32(native.Uint32(b[88:])),
		CgroupKilled: native.Uint32(b[92:]),
	}, true
}

const (
	orderGo = iota + 1
	orderFreeze
	orderThaw
	orderApprove
	orderRelease
	orderRefuse
	orderLimit
	orderCont
)

// Orders to the killer, and what it says.
const (
	killerKill = iota + 1
	killerStop
	killerCont
	killerMemory
	killerTerm
	killerDone
)

func encodeKillerOrder(kind uint32, value uint64) []byte {
	b := make([]byte, killerOrderSize)
	native.PutUint32(b[0:], kind)
	native.PutUint64(b[8:], value)
	return b
}

func encodeOrder(kind uint32, tid, tgid int32, id uint64) []byte {
	b := make([]byte, orderSize)
	native.PutUint32(b[0:], kind)
	native.PutUint32(b[4:], uint32(tid))
	native.PutUint64(b[8:], id)
	native.PutUint32(b[16:], uint32(tgid))
	return b
}

func (s *Spec) encode() ([]byte, error) {
	flags := uint32(0)
	for _, f := range []struct {
		set bool
		bit uint32
	}{
		{s.Park, reqPark}, {s.Listener, reqListener}, {s.Interactive, reqInteractive},
		{s.NoCore, reqNoCore}, {s.NoTHP, reqNoTHP}, {s.NoRandomize, reqNoRandomize},
		{s.NoFile != nil, reqNoFile}, {s.Cores != nil, reqAffinity},
		{s.Ruleset >= 0, reqRuleset}, {s.Cwd >= 0, reqCwd}, {s.WaitKillable, reqWaitKillable},
		{s.MaxProcesses != nil, reqMaxProcesses}, {s.Execs, reqExecs}, {s.WritesMemory, reqWritesMemory},
		{s.Exec >= 0, reqExec}, {s.Terminal, reqTerminal}, {s.Cgroup >= 0, reqCgroup}, {s.LogDenials, reqLogDenials},
		{s.Jobs, reqJobs},
	} {
		if f.set {
			flags |= f.bit
		}
	}
	size := requestSize + len(s.Filter) + len(s.Path) + 1
	for _, list := range [][]string{s.Argv, s.Env} {
		for _, v := range list {
			size += len(v) + 1
		}
	}
	if len(s.Files) > FilesMax {
		return nil, fmt.Errorf("descriptor %d for the command: %d at most", len(s.Files)-1, FilesMax-1)
	}
	if size > requestMax {
		return nil, fmt.Errorf("command line and environment take %d bytes, %d at most", size, requestMax)
	}
	b := make([]byte, requestSize, size)
	native.PutUint32(b[0:], requestMagic)
	native.PutUint32(b[4:], protocolVersion)
	native.PutUint32(b[8:], uint32(size))
	native.PutUint32(b[12:], flags)
	native.PutUint32(b[16:], uint32(len(s.Filter)/8))
	native.PutUint32(b[20:], uint32(len(s.Argv)))
	native.PutUint32(b[24:], uint32(len(s.Env)))
	native.PutUint32(b[28:], s.KillerScope)
	if s.NoFile != nil {
		native.PutUint64(b[32:], uint64(*s.NoFile))
	}
	native.PutUint64(b[40:], s.KeepCaps)
	native.PutUint32(b[48:], uint32(int32(s.TTY)))
	native.PutUint32(b[52:], uint32(int32(s.TTYPgrp)))
	if s.MaxProcesses != nil {
		native.PutUint32(b[56:], *s.MaxProcesses)
	}
	if s.MaxCPU != nil {
		native.PutUint32(b[60:], *s.MaxCPU)
	}
	if s.MaxMemory != nil {
		native.PutUint64(b[64:], *s.MaxMemory)
	}
	for _, c := range s.Cores {
		if c >= cpuBytes*8 {
			return nil, fmt.Errorf("cpu_cores: no core %d", c)
		}
		// A CPU mask is an array of unsigned long; both architectures are little-endian.
		b[72+c/8] |= 1 << (c % 8)
	}
	for i, fd := range s.Files {
		if fd < 0 {
			b[72+cpuBytes+i/8] |= 1 << (i % 8)
		}
	}
	b = append(b, s.Filter...)
	b = append(append(b, s.Path...), 0)
	for _, list := range [][]string{s.Argv, s.Env} {
		for _, v := range list {
			b = append(append(b, v...), 0)
		}
	}
	return b, nil
}
