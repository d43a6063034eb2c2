# A CMake toolchain for arm64 Android without the NDK:
#   pip install 'pocketcl[android]'
#   cmake -S android_runner -B build -DCMAKE_TOOLCHAIN_FILE=android_runner/bionic/zig.cmake
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES POCKETCL_PYTHON)

set(POCKETCL_PYTHON python3 CACHE STRING "A Python that has pocketcl[android]")
execute_process(
  COMMAND ${POCKETCL_PYTHON} -m toolkit.toolchain.sysroot
  OUTPUT_VARIABLE zig_and_sysroot OUTPUT_STRIP_TRAILING_WHITESPACE
  RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "${POCKETCL_PYTHON} has no pocketcl[android]: give another by -DPOCKETCL_PYTHON=…")
endif()
list(GET zig_and_sysroot 0 zig)
list(GET zig_and_sysroot 1 POCKETCL_SYSROOT)

set(CMAKE_CXX_COMPILER ${zig} c++ -target aarch64-linux-musl)
set(CMAKE_CXX_LINK_EXECUTABLE
  "${zig} ld.lld -o <TARGET> ${POCKETCL_SYSROOT}/crt0.o ${POCKETCL_SYSROOT}/compat.o <OBJECTS> -L ${POCKETCL_SYSROOT} @${CMAKE_CURRENT_LIST_DIR}/link.txt")
set(CMAKE_CXX_ARCHIVE_CREATE "${zig} ar qc <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_FINISH "")
