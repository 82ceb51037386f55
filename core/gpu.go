package core

import (
	"fmt"
	"maps"
	"strings"

	"github.com/sandlock/sandlock/core/internal/landlock"
)

// gpuVariables tell CUDA and ROCm which devices to use.
var gpuVariables = []string{"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"}

// gpuPaths are what gpu_devices grants: the control nodes of NVIDIA's driver, the nodes of
// the devices, and where the driver and the tools read about them. nil is nothing, the
// empty list every device, those of /dev/dri included. What a machine lacks is passed over.
func gpuPaths(devices []uint32) []landlock.PathRule {
	if devices == nil {
		return nil
	}
	const field = "gpu_devices"
	var rules []landlock.PathRule
	for _, node := range []string{"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"} {
		rules = append(rules, landlock.Device(field, "/dev/"+node))
	}
	if len(devices) == 0 {
		// Nobody knows which there are until the start.
		for i := uint32(0); i < everyGPU; i++ {
			devices = append(devices, i)
		}
		rules = append(rules, landlock.Device(field, "/dev/dri"))
	}
	for _, i := range sortedSet(devices) {
		rules = append(rules, landlock.Device(field, fmt.Sprintf("/dev/nvidia%d", i)))
	}
	for _, path := range []string{"/proc/driver/nvidia", "/sys/bus/pci/devices", "/sys/module/nvidia"} {
		rules = append(rules, landlock.Info(field, path))
	}
	return rules
}

// everyGPU is how many devices "every device" looks for: more than one machine holds.
const everyGPU = 64

// setGPUs names the devices in the environment, unless the policy does.
func (p *Plan) setGPUs(devices []uint32) {
	if len(devices) == 0 {
		return
	}
	list := strings.ReplaceAll(strings.Trim(fmt.Sprint(sortedSet(devices)), "[]"), " ", ",")
	env := maps.Clone(p.env)
	if env == nil {
		env = map[string]string{}
	}
	for _, name := range gpuVariables {
		if _, given := env[name]; !given {
			env[name] = list
		}
	}
	p.env = env
}
