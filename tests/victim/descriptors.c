/* descriptors: prints the numbers of the descriptors that it has, "tty" when /dev/tty is a
 * terminal for it, and "typed" with those on which it could type for others. */
#include "try.h"

#include <fcntl.h>
#include <sys/ioctl.h>

int main(void)
{
	int fd, tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);

	for (fd = 0; fd < 10000; fd++)
		if (fd != tty && fcntl(fd, F_GETFD) != -1)
			printf("%d ", fd);
	if (tty >= 0)
		printf("tty ");
	for (fd = 0; fd < 10000; fd++)
		if (ioctl(fd, TIOCSTI, "x") == 0)
			printf("typed:%d ", fd);
	printf("\n");
	return 0;
}
