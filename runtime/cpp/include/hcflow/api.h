/** The export macro of the shared library, the library's version, and its binary interface's. */
#ifndef HCFLOW_API_H
#define HCFLOW_API_H

#define HCFLOW_VERSION_MAJOR 0
#define HCFLOW_VERSION_MINOR 1
#define HCFLOW_VERSION_PATCH 0

/** Raised when a program must be compiled again: a structure or a function of hcflow.hpp changed.
 *  The shared library is libhcflow.so.N. */
#define HCFLOW_ABI_VERSION 3

#if defined(HCFLOW_STATIC)
#define HCFLOW_API
#elif defined(_WIN32) && defined(HCFLOW_BUILDING)
#define HCFLOW_API __declspec(dllexport)
#elif defined(_WIN32)
#define HCFLOW_API __declspec(dllimport)
#else
#define HCFLOW_API __attribute__((visibility("default")))
#endif

#endif
