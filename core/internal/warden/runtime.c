//go:build ignore
// (for the go command, which would want cgo: the Makefile builds this)

/* The entry point, the clones onto a new stack, and what gcc calls by itself. */
#include "protocol.h"

#if defined(__x86_64__)
__asm__(".text\n.global _start\n_start:\n"
	"\tmov %rsp,%rdi\n\txor %ebp,%ebp\n\tand $-16,%rsp\n\tcall warden_main\n\tud2\n"
	/* spawn_(flags, stack, ptid, ctid, fn): clone(2), raw x86-64 order */
	".global spawn_\nspawn_:\n\tmov %rcx,%r10\n\tmov %r8,%r9\n\txor %r8d,%r8d\n\tmov $56,%eax\n\tsyscall\n"
	"\ttest %rax,%rax\n\tjnz 1f\n\txor %ebp,%ebp\n\tand $-16,%rsp\n\tcall *%r9\n\tud2\n1:\tret\n"
	/* spawn_into(args, size, fn): clone3(2), which leaves rdx alone */
	".global spawn_into\nspawn_into:\n\tmov $435,%eax\n\tsyscall\n"
	"\ttest %rax,%rax\n\tjnz 1f\n\txor %ebp,%ebp\n\tand $-16,%rsp\n\tcall *%rdx\n\tud2\n1:\tret\n");
#elif defined(__aarch64__)
__asm__(".text\n.global _start\n_start:\n"
	"\tmov x0,sp\n\tmov x29,#0\n\tmov x30,#0\n\tbl warden_main\n\tbrk #1\n"
	/* spawn_(flags, stack, ptid, ctid, fn): clone(2), raw arm64 order has tls before ctid */
	".global spawn_\nspawn_:\n\tmov x9,x4\n\tmov x4,x3\n\tmov x3,#0\n\tmov x8,#220\n\tsvc #0\n"
	"\tcbnz x0,1f\n\tmov x29,#0\n\tblr x9\n\tbrk #1\n1:\tret\n"
	".global spawn_into\nspawn_into:\n\tmov x8,#435\n\tsvc #0\n"
	"\tcbnz x0,1f\n\tmov x29,#0\n\tblr x2\n\tbrk #1\n1:\tret\n");
#endif

/* gcc may call these in freestanding code too */
void *memset(void *p, int c, unsigned long n)
{
	u8 *b = p;
	while (n--)
		*b++ = (u8)c;
	return p;
}
void *memcpy(void *to, const void *from, unsigned long n)
{
	u8 *t = to;
	const u8 *f = from;
	while (n--)
		*t++ = *f++;
	return to;
}
