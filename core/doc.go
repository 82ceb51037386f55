// Package core runs untrusted commands under Landlock, seccomp-bpf and a
// seccomp user-notification supervisor, without root, containers or namespaces.
//
// Data flows one way: a [Policy] is plain data; [Policy.Compile] checks it and
// makes an immutable, printable [Plan]; [Plan.Create] turns the plan and a
// [Command] into a [Sandbox], which holds the kernel objects of one run; its end
// is a [Result].
package core
