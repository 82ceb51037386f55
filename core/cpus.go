package core

import (
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// turn makes runs that are given fewer CPUs than there are begin at different ones.
var turn atomic.Uint32

// cpus are the CPUs that a run is confined to, nil for no change: cpu_cores or what the
// calling thread may run on, and no more than num_cpus of them. Of num_cpus, which these are
// is said in any case.
func (p *Plan) cpus() (confined, counted []uint32) {
	if p.numCPUs == nil {
		return p.cores, nil
	}
	cores := p.cores
	if cores == nil {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			// EINVAL: more CPUs than a CPUSet holds; the kernel's own list then.
			cores = hostKernel().CPUs
		}
		for cpu := range uint32(len(set) * 64) {
			if set.IsSet(int(cpu)) {
				cores = append(cores, cpu)
			}
		}
	}
	n := int(min(uint64(*p.numCPUs), uint64(len(cores))))
	if n == len(cores) {
		return p.cores, cores
	}
	first := int(turn.Add(1)-1) % len(cores)
	chosen := slices.Concat(cores[first:], cores[:first])[:n]
	slices.Sort(chosen)
	return chosen, chosen
}
