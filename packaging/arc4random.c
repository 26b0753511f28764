/* GCC's C++ library takes random numbers from glibc's arc4random, which glibc has only since 2.36: it is all that would keep
   packages made on Debian 12 from RHEL 9. This does the same with what glibc has had since 2.25. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

uint32_t arc4random(void) {
    uint32_t number;
    if (getentropy(&number, sizeof number) != 0) {
        abort();
    }
    return number;
}
