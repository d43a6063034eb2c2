// Where a program begins on Android. bionic's __libc_init takes the initial stack, a pointer that
// is not used, main, and the arrays of constructors of a static program: in a dynamic one the
// linker has called them, so these are empty.
    .text
    .globl _start
    .hidden _start
    .type _start, %function
_start:
    hint #36                     // bti j
    mov x29, #0                  // the outermost frame
    mov x30, #0
    mov x0, sp
    mov x1, #0
    adrp x2, main
    add x2, x2, :lo12:main
    adrp x3, no_constructors
    add x3, x3, :lo12:no_constructors
    b __libc_init
    .size _start, . - _start

    .section .rodata
    .balign 16
no_constructors:
    .zero 64

// The oldest Android for which this is made: API level 26, Android 8.
    .section .note.android.ident, "a", %note
    .balign 4
    .long 8, 4, 1                // sizes of name and value, type
    .asciz "Android"
    .long 26

    .section .note.GNU-stack, "", %progbits
