package main

// step is one program under one Yama scope. The scope only rises here: 3 can't be left,
// Documentation/admin-guide/LSM/Yama.rst.
type step struct {
	scope   int
	program string
	args    []string
	env     []string
	want    string // has to be in the output
	from    int    // the Landlock ABI that it needs
	cgroup  bool   // run in hostCgroup
}

func tests(names string) []string {
	return []string{"-test.v", "-test.timeout=60m", "-test.run=^(" + names + ")$"}
}

const (
	passed = "--- PASS: "
	// The life of an exec, and the end of a sandbox.
	traced = "TestArgvRaces|TestScripts|TestExecOfThreads|TestArgvExtremes|TestWaysToExecute|TestFailedExecs|" +
		"TestThousandThreads|TestDoomedExecs|TestLeavingLeader|TestExecsAtOnce|" +
		"TestCallerKilled|TestStuckFunction|TestBlockedFunction|TestFunctionThatNeverReturns"
	ended  = "TestDaemons|TestEndings|TestHostKilled|TestWardenKilled"
	ports  = "TestPortSemantics|TestPortGone|TestPortContenders|TestInterfaces|TestNetlink"
	limits = "TestMaxProcesses|TestMaxProcessesCount|TestForksUnderSignals|TestTracedFromBirth|" +
		"TestMaxCPUAndJobs|TestMaxCPULeavesStopped|TestMaxCPUContinued|TestHeldEnds"
	memory = "TestMemoryCgroup|TestMemoryCgroupIsOutOfReach|TestMemoryCgroupGoes|TestMemoryCgroupFaults|" +
		"TestMaxMemory|TestBelowMaxMemory|TestRestrictMaxMemory|TestHostKilled|TestWardenKilled"
	// What older kernels do without.
	scoped = "TestNetworkDoors|TestListenDoors|TestAbstractSockets|TestProcessesOutside"
	runs   = "TestRunCollectsOutputAndStatus|TestRulesetIsEnforced|TestStartErrors|" +
		"TestOutputIsBounded|TestCreateStartWait|TestClosingAParkedSandboxEndsIt|TestPolicyFnSeesEveryCommandLine|" +
		"TestScriptIsSeenForWhatItBecomes|TestPauseStopsAndKillEnds|TestKilledWardenEndsTheSandbox|" +
		"TestFailedStartsLeaveNothing|TestSteppedRun|TestRenameAndLinkAcrossDirectories|TestProbeChangesNothing"
)

var steps = []step{
	{scope: 0, program: "victims/report", want: `"yama":0`},
	{scope: 0, program: "attacks.test", args: tests("TestYama"), want: passed},
	// A tracer that is no ancestor, as TestArgvSafety and a control have one, gets nowhere under 1.
	{scope: 0, program: "attacks.test", args: tests("TestArgvSafety"), want: passed},
	{scope: 0, program: "attacks.test", args: tests(scoped), want: passed, from: 6},
	{scope: 0, program: "core.test", args: tests("TestKernelAudit"), want: passed, from: 7},
	{scope: 1, program: "victims/report", want: `"yama":1`},
	{scope: 1, program: "attacks.test", args: tests("TestYama"), want: passed},
	{scope: 1, program: "attacks.test", args: tests("TestYamaRaised"), want: passed, env: []string{"SANDLOCK_VM_RAISE=2"}},
	{scope: 1, program: "core.test", args: tests(runs), want: passed},
	{scope: 1, program: "attacks.test", args: tests(ended), want: passed},
	{scope: 1, program: "attacks.test", args: tests(limits), want: passed},
	{scope: 1, program: "attacks.test", args: tests(ports), want: passed},
	{scope: 1, program: "attacks.test", args: tests(memory), want: passed, cgroup: true},
	{scope: 1, program: "attacks.test", args: tests(traced), want: passed},
	{scope: 2, program: "victims/report", want: `"yama":2`},
	{scope: 2, program: "attacks.test", args: tests("TestYama"), want: passed},
	{scope: 2, program: "attacks.test", args: tests("TestYamaRaised"), want: passed, env: []string{"SANDLOCK_VM_RAISE=3"}},
	{scope: 3, program: "victims/report", want: `"yama":3`},
	{scope: 3, program: "attacks.test", args: tests("TestYama"), want: passed},
}
