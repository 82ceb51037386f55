/* sockets: every family, type and some protocols, by socket and socketpair. */
#include "try.h"

#include <sys/socket.h>

int main(void)
{
	static const int protocols[] = { 0, 1, 2, 6, 17, 33, 58, 132, 136, 255, 256, 262 };
	char name[64];
	int pair[2];
	for (int family = 0; family <= 47; family++)
		for (int type = 1; type <= 6; type++)
			for (unsigned p = 0; p < sizeof protocols / sizeof *protocols; p++) {
				snprintf(name, sizeof name, "socket-%d-%d-%d", family, type, protocols[p]);
				long fd = TRY(name, socket(family, type | SOCK_CLOEXEC, protocols[p]));
				if (fd >= 0)
					close((int)fd);
				snprintf(name, sizeof name, "socketpair-%d-%d-%d", family, type, protocols[p]);
				if (TRY(name, socketpair(family, type, protocols[p], pair)) == 0)
					close(pair[0]), close(pair[1]);
			}
	/* Dirty high words are no family, type or protocol: they are ints. */
	TRY("dirty-family", syscall(SYS_socket, 0xffffffff00000000ul | AF_INET, SOCK_DGRAM, 0));
	TRY("dirty-type", syscall(SYS_socket, AF_INET, 0xffffffff00000000ul | SOCK_DGRAM, 0));
	TRY("dirty-unix", syscall(SYS_socket, 0xffffffff00000000ul | AF_UNIX, SOCK_STREAM, 0));
	return 0;
}
