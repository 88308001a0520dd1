# Finds each backend's SDK and adds the backends whose SDK is found.

# OpenVINO's wheel contains headers, libraries and CMake files. Python tells where it is.
function(hcflow_find_openvino_wheel)
    set(python "${HCFLOW_PYTHON}")
    if(NOT python)
        find_program(python NAMES python3 NO_CACHE)
    endif()
    # Keeps a folder that the user gave, and replaces one that a Python gave before.
    if(NOT python OR (OpenVINO_DIR AND NOT "${OpenVINO_DIR}" STREQUAL "${HCFLOW_OPENVINO_WHEEL}"))
        return()
    endif()
    execute_process(
        COMMAND "${python}" -c
            "import importlib.util as u; print(u.find_spec('openvino').submodule_search_locations[0])"
        OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(NOT failed AND EXISTS "${folder}/cmake/OpenVINOConfig.cmake")
        set(OpenVINO_DIR "${folder}/cmake" CACHE PATH "OpenVINO's CMake files" FORCE)
        set(HCFLOW_OPENVINO_WHEEL "${OpenVINO_DIR}" CACHE INTERNAL "Found by Python")
    endif()
endfunction()

if(HCFLOW_OPENVINO)
    hcflow_find_openvino_wheel()
    if(HCFLOW_OPENVINO STREQUAL "AUTO")
        find_package(OpenVINO QUIET COMPONENTS Runtime)
    else()
        find_package(OpenVINO REQUIRED COMPONENTS Runtime)
    endif()
endif()
message(STATUS "hcflow: backend openvino: ${OpenVINO_FOUND} ${OpenVINO_VERSION}")

# The headers of TensorRT and TensorRT-RTX have the same names; NvInferVersion.h distinguishes them.
# Only headers are needed: libraries and driver are loaded at run time.
function(hcflow_find_nvinfer name option is_rtx)
    if(NOT ${option})
        return()
    endif()
    find_path(${name}_INCLUDE_DIR NvInferRuntime.h
        HINTS "${${name}_ROOT}" "$ENV{${name}_ROOT}" PATH_SUFFIXES include)
    find_path(CUDA_RUNTIME_INCLUDE_DIR cuda_runtime_api.h
        HINTS "${CUDAToolkit_ROOT}" "$ENV{CUDA_PATH}" /usr/local/cuda PATH_SUFFIXES include)
    set(found FALSE)
    if(${name}_INCLUDE_DIR AND CUDA_RUNTIME_INCLUDE_DIR)
        file(STRINGS "${${name}_INCLUDE_DIR}/NvInferVersion.h" rtx REGEX "define TRT_MAJOR_RTX ")
        if((is_rtx AND rtx) OR (NOT is_rtx AND NOT rtx))
            set(found TRUE)
        else()
            unset(${name}_INCLUDE_DIR CACHE)  # the other library's: search again next time
        endif()
    endif()
    if(NOT found AND NOT ${option} STREQUAL "AUTO")
        message(FATAL_ERROR "${name}: NvInferRuntime.h and cuda_runtime_api.h not found: set "
            "${name}_ROOT and CUDAToolkit_ROOT")
    endif()
    set(HCFLOW_HAS_${name} ${found} PARENT_SCOPE)
endfunction()

if(HCFLOW_SIMULATED_GPU)
    set(simulated ${CMAKE_CURRENT_SOURCE_DIR}/tests/simulated)
    set(TensorRT_INCLUDE_DIR ${simulated}/tensorrt)
    set(TensorRT_RTX_INCLUDE_DIR ${simulated}/tensorrt_rtx)
    set(CUDA_RUNTIME_INCLUDE_DIR ${simulated}/cuda)
endif()
hcflow_find_nvinfer(TensorRT HCFLOW_TENSORRT FALSE)
hcflow_find_nvinfer(TensorRT_RTX HCFLOW_TENSORRT_RTX TRUE)
message(STATUS "hcflow: backend tensorrt: ${HCFLOW_HAS_TensorRT} ${TensorRT_INCLUDE_DIR}")
message(STATUS "hcflow: backend tensorrt-rtx: ${HCFLOW_HAS_TensorRT_RTX} ${TensorRT_RTX_INCLUDE_DIR}")

function(hcflow_add_nvinfer target name source definition)
    if(HCFLOW_HAS_${name})
        target_sources(${target} PRIVATE ${source})
        target_compile_definitions(${target} PRIVATE ${definition})
        # For this file only, as the other library's headers have the same names.
        set(options "")
        foreach(folder "${${name}_INCLUDE_DIR}" "${CUDA_RUNTIME_INCLUDE_DIR}")
            # The compiler's own folders must keep their order, or #include_next fails.
            if(NOT folder IN_LIST CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
                list(APPEND options "-isystem${folder}")
            endif()
        endforeach()
        if(HCFLOW_SANITIZE)
            list(APPEND options -fno-sanitize=vptr)  # typeinfo is in NVIDIA's library
        endif()
        set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${options}")
    endif()
endfunction()

# Compiles the backends into a target. HCFLOW_BACKEND_TARGETS: what a program has to link.
function(hcflow_add_backends target)
    set(targets "")
    if(HCFLOW_HAS_TensorRT OR HCFLOW_HAS_TensorRT_RTX)
        target_sources(${target} PRIVATE
            src/gpu/automatic_precision.cpp src/gpu/device.cpp src/gpu/driver.cpp src/gpu/engine_choice.cpp
            src/gpu/engine_entry.cpp src/gpu/engine_files.cpp src/gpu/session.cpp src/gpu/stream.cpp)
    endif()
    hcflow_add_nvinfer(${target} TensorRT src/backends/tensorrt.cpp HCFLOW_WITH_TENSORRT)
    hcflow_add_nvinfer(${target} TensorRT_RTX src/backends/tensorrt_rtx.cpp
        HCFLOW_WITH_TENSORRT_RTX)
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
