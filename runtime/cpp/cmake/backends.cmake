# Finds each backend's SDK and adds the backends whose SDK is there.

# The wheel of OpenVINO carries headers, libraries and CMake files: ask the Python that has it.
function(hcflow_openvino_of_python)
    set(python "${HCFLOW_PYTHON}")
    if(NOT python)
        find_program(python NAMES python3 NO_CACHE)
    endif()
    if(NOT python OR OpenVINO_DIR)
        return()
    endif()
    execute_process(
        COMMAND "${python}" -c
            "import importlib.util as u; print(u.find_spec('openvino').submodule_search_locations[0])"
        OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(NOT failed AND EXISTS "${folder}/cmake/OpenVINOConfig.cmake")
        set(OpenVINO_DIR "${folder}/cmake" CACHE PATH "OpenVINO's CMake files")
    endif()
endfunction()

if(HCFLOW_OPENVINO)
    hcflow_openvino_of_python()
    if(HCFLOW_OPENVINO STREQUAL "AUTO")
        find_package(OpenVINO QUIET COMPONENTS Runtime)
    else()
        find_package(OpenVINO REQUIRED COMPONENTS Runtime)
    endif()
endif()
message(STATUS "hcflow: backend openvino: ${OpenVINO_FOUND} ${OpenVINO_VERSION}")

# Compiles the backends into a target; HCFLOW_BACKEND_TARGETS is what a program then links.
function(hcflow_add_backends target)
    set(targets "")
    if(HCFLOW_OPENVINO AND OpenVINO_FOUND)
        target_sources(${target} PRIVATE src/backends/openvino.cpp)
        target_compile_definitions(${target} PRIVATE HCFLOW_WITH_OPENVINO)
        target_link_libraries(${target} PUBLIC openvino::runtime)
        list(APPEND targets openvino::runtime)
    endif()
    if(HCFLOW_NULL)
        target_sources(${target} PRIVATE src/backends/null.cpp)
        target_compile_definitions(${target} PRIVATE HCFLOW_WITH_NULL)
    endif()
    set(HCFLOW_BACKEND_TARGETS ${targets} PARENT_SCOPE)
endfunction()
