/* An OpenCL library that dies in one call, as vendors' drivers do; the rest is libOpenCL.so.1's,
 * which it is linked with: dlsym looks there too. */
#ifdef IN_BUILD
int clBuildProgram(void) { return *(volatile int *)0; }
#else
int clEnqueueNDRangeKernel(void) { return *(volatile int *)0; }
#endif
