/** The export macro of the shared library, and the library's version. */
#ifndef HCFLOW_API_H
#define HCFLOW_API_H

#define HCFLOW_VERSION_MAJOR 0
#define HCFLOW_VERSION_MINOR 1
#define HCFLOW_VERSION_PATCH 0

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
