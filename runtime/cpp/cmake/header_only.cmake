# For cross-compilers. Debian's header-only libraries lie beside the headers of this machine's C
# library, which another machine's compiler must not see: they get a folder of their own.
set(headers "${CMAKE_BINARY_DIR}/headers")
file(MAKE_DIRECTORY "${headers}")
foreach(name nlohmann doctest)
    if(EXISTS "/usr/include/${name}")
        file(CREATE_LINK "/usr/include/${name}" "${headers}/${name}" SYMBOLIC)
    endif()
endforeach()
foreach(package nlohmann_json doctest)
    file(WRITE "${headers}/${package}Config.cmake"
        "add_library(${package}::${package} INTERFACE IMPORTED)\n"
        "target_include_directories(${package}::${package} SYSTEM INTERFACE \"${headers}\")\n")
    file(WRITE "${headers}/${package}ConfigVersion.cmake"
        "set(PACKAGE_VERSION 3.11)\nset(PACKAGE_VERSION_COMPATIBLE TRUE)\n")
    set(${package}_DIR "${headers}" CACHE PATH "Made by header_only.cmake" FORCE)
endforeach()
