package core

import (
	"path/filepath"
	"slices"

	"github.com/sandlock/sandlock/core/internal/broker"
	"github.com/sandlock/sandlock/core/internal/virtual"
)

// The files that a sandbox sees another one in the place of. What is opened there is for
// people and programs to go by, and protects nothing: a file that can't be shown is the
// machine's own.
const (
	hostsFile   = "/etc/hosts"
	cpuinfoFile = "/proc/cpuinfo"
	statFile    = "/proc/stat"
	onlineFile  = "/sys/devices/system/cpu/online"
	meminfoFile = "/proc/meminfo"
	tcpFile     = "/proc/net/tcp"
	tcp6File    = "/proc/net/tcp6"
)

// views are the files that a policy has others shown in the place of, and unseen those that
// can't be shown here. Opens are trapped for it, so of what no grant can be seen
// to lead to there is none. The names of net_allow mean something in any case.
func (p *Policy) views(k Kernel) (views, unseen []string) {
	net := p.compileNet(false)
	if len(net.names) > 0 {
		views = append(views, hostsFile)
	}
	for _, file := range []string{cpuinfoFile, statFile, onlineFile} {
		if p.NumCPUs != nil && p.mayRead(file) {
			views = append(views, file)
		}
	}
	if p.MaxMemory != nil && p.mayRead(meminfoFile) {
		views = append(views, meminfoFile)
	}
	for _, file := range []string{tcpFile, tcp6File} {
		if net.remap && p.mayRead(file) {
			views = append(views, file)
		}
	}
	if !k.carriesOut() {
		return nil, views
	}
	return views, nil
}

// mayRead reports whether a path of the policy is above a file, by their names.
func (p *Policy) mayRead(file string) bool {
	return slices.ContainsFunc(slices.Concat(p.FSReadable, p.FSWritable), func(path string) bool {
		return beneath(file, filepath.Clean(path))
	})
}

// visible is what is shown in one run.
type visible struct {
	pins []virtual.Pin
	cpus []uint32
}

// makeViews makes the views of a run.
func (s *Sandbox) makeViews(visible visible) (views []*broker.View) {
	for _, path := range s.plan.views {
		v := &broker.View{Path: path, Fixed: path != hostsFile}
		switch path {
		case hostsFile:
			v.Live = true
			v.Bare = virtual.Hosts(visible.pins, nil)
			v.Make = func(own []byte) []byte { return virtual.Hosts(visible.pins, own) }
		case cpuinfoFile:
			v.Make = func(own []byte) []byte { return virtual.CPUInfo(own, visible.cpus) }
		case statFile:
			v.Live = true
			v.Make = func(own []byte) []byte { return virtual.Stat(own, visible.cpus) }
		case onlineFile:
			v.Make = func([]byte) []byte { return virtual.CPUList(visible.cpus) }
		case tcpFile, tcp6File:
			v.Live = true
			v.Make = func(own []byte) []byte { return s.network.Remap.Table(own) }
		case meminfoFile:
			v.Live = true
			usage := &usage{sandbox: s}
			v.Make = func(own []byte) []byte {
				return virtual.Meminfo(own, virtual.Memory{Limit: s.memoryLimit(), Used: usage.now()})
			}
		}
		views = append(views, v)
	}
	return views
}

// memoryLimit is the max_memory of now, of a policy that has one.
func (s *Sandbox) memoryLimit() uint64 { return s.verdicts.live.state.Load().memory.n }
