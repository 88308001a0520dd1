# Installs libraries, headers and the package files of CMake and pkg-config.
install(TARGETS hcflow EXPORT hcflow
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/hcflow DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/hcflow)
install(EXPORT hcflow NAMESPACE hcflow:: FILE hcflowTargets.cmake DESTINATION ${package})
configure_package_config_file(cmake/hcflowConfig.cmake.in hcflowConfig.cmake
    INSTALL_DESTINATION ${package})
write_basic_package_version_file(hcflowConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/hcflowConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/hcflowConfigVersion.cmake DESTINATION ${package})

# With a static library the program links the backends: their files, for pkg-config.
set(pkg_config_private "-pthread")
set(pkg_config_flags "")
if(NOT BUILD_SHARED_LIBS)
    set(pkg_config_flags "-DHCFLOW_STATIC")
    foreach(target ${HCFLOW_BACKEND_TARGETS})
        string(APPEND pkg_config_private " $<TARGET_FILE:${target}>")
    endforeach()
    string(APPEND pkg_config_private " -lstdc++ -lm -ldl")
endif()
file(RELATIVE_PATH pc_up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
configure_file(cmake/hcflow.pc.in hcflow.pc.configured @ONLY)
file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/hcflow.pc
    INPUT ${CMAKE_CURRENT_BINARY_DIR}/hcflow.pc.configured)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/hcflow.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
