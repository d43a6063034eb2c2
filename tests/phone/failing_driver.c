/* An OpenCL library that fails in one call, as vendors' drivers do; the rest is libOpenCL.so.1's,
 * which it is linked with: dlsym looks there too. */
#if defined(CRASH_IN_BUILD)
int clBuildProgram(void) { return *(volatile int *)0; }
#elif defined(CRASH_IN_LAUNCH)
int clEnqueueNDRangeKernel(void) { return *(volatile int *)0; }
#elif defined(NO_MEMORY)
void *clCreateBuffer(void *context, unsigned long flags, unsigned long size, void *host, int *error) {
  (void)context, (void)flags, (void)size, (void)host;
  if (error) *error = -4; /* CL_MEM_OBJECT_ALLOCATION_FAILURE */
  return 0;
}
#endif
