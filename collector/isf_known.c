/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/isf_known.h"

#include <string.h>

#define STRUCT(symbol, type)                                                                       \
	{                                                                                          \
		symbol, ISF_SPACE_USER, type, 0, ISF_PLAIN, 0                                      \
	}
#define POINTER(symbol, type)                                                                      \
	{                                                                                          \
		symbol, ISF_SPACE_USER, type, 1, ISF_PLAIN, 0                                      \
	}
#define BASE(symbol, type)                                                                         \
	{                                                                                          \
		symbol, ISF_SPACE_BASE, type, 0, ISF_PLAIN, 0                                      \
	}
#define ARRAY(symbol, space, type, pointers, count)                                                \
	{                                                                                          \
		symbol, space, type, pointers, count, 0                                            \
	}
#define TO_NEXT(symbol, space, type, pointers, element)                                            \
	{                                                                                          \
		symbol, space, type, pointers, ISF_TO_NEXT, element                                \
	}

static const struct isf_known known[] = {
	STRUCT("init_task", "task_struct"),
	STRUCT("init_files", "files_struct"),
	STRUCT("init_fs", "fs_struct"),
	STRUCT("init_mm", "mm_struct"),
	STRUCT("init_cred", "cred"),
	STRUCT("init_net", "net"),
	STRUCT("init_pid_ns", "pid_namespace"),
	STRUCT("init_uts_ns", "uts_namespace"),
	STRUCT("init_user_ns", "user_namespace"),
	STRUCT("modules", "list_head"),
	STRUCT("net_namespace_list", "list_head"),
	STRUCT("tty_drivers", "list_head"),
	STRUCT("bpf_kallsyms", "list_head"),
	STRUCT("ftrace_mod_maps", "list_head"),
	STRUCT("ftrace_ops_trampoline_list", "list_head"),
	STRUCT("super_blocks", "list_head"),
	STRUCT("inet_sockets", "list_head"),
	STRUCT("mod_tree", "mod_tree_root"),
	STRUCT("iomem_resource", "resource"),
	STRUCT("sockfs_dentry_operations", "dentry_operations"),
	STRUCT("socket_file_ops", "file_operations"),
	STRUCT("keyboard_notifier_list", "atomic_notifier_head"),
	STRUCT("prog_idr", "idr"),
	STRUCT("map_idr", "idr"),
	STRUCT("ftrace_list_end", "ftrace_ops"),
	STRUCT("total_sleep_time", "timespec64"),
	STRUCT("tk_core", "tk_data"), /* before 6.13 an anonymous structure: isf.c */
	STRUCT("*_seq_ops", "seq_operations"),
	STRUCT("tcp4_seq_afinfo", "tcp_seq_afinfo"),
	STRUCT("tcp6_seq_afinfo", "tcp_seq_afinfo"),
	STRUCT("udp_seq_afinfo", "udp_seq_afinfo"),
	STRUCT("udp4_seq_afinfo", "udp_seq_afinfo"),
	STRUCT("udp6_seq_afinfo", "udp_seq_afinfo"),
	STRUCT("udplite4_seq_afinfo", "udp_seq_afinfo"),
	STRUCT("udplite6_seq_afinfo", "udp_seq_afinfo"),
	POINTER("module_kset", "kset"),
	POINTER("prb", "printk_ringbuffer"),
	POINTER("ftrace_ops_list", "ftrace_ops"),
	POINTER("file_systems", "file_system_type"),
	BASE("module_addr_min", "long unsigned int"),
	BASE("module_addr_max", "long unsigned int"),
	BASE("vmemmap_base", "long unsigned int"),
	BASE("vmalloc_base", "long unsigned int"),
	BASE("page_offset_base", "long unsigned int"),
	BASE("phys_base", "long unsigned int"),
	BASE("log_buf_len", "unsigned int"),
	BASE("cap_last_cap", "int"),
	BASE("num_registered_fb", "int"),
	BASE("kallsyms_num_syms", "unsigned int"),
	BASE("kallsyms_relative_base", "long unsigned int"),
	{ "log_buf", ISF_SPACE_BASE, "char", 1, ISF_PLAIN, 0 },
	{ "saved_command_line", ISF_SPACE_BASE, "char", 1, ISF_PLAIN, 0 },
	{ "mem_section", ISF_SPACE_USER, "mem_section", 2, ISF_PLAIN, 0 },
	ARRAY("idt_table", ISF_SPACE_USER, "gate_struct", 0, 256),
	ARRAY("registered_fb", ISF_SPACE_USER, "fb_info", 1, 32),
	ARRAY("swapper_pg_dir", ISF_SPACE_BASE, "long unsigned int", 0, 512),
	ARRAY("init_top_pgt", ISF_SPACE_BASE, "long unsigned int", 0, 512),
	ARRAY("_text", ISF_SPACE_BASE, "char", 0, 0),
	ARRAY("_etext", ISF_SPACE_BASE, "char", 0, 0),
	ARRAY("_stext", ISF_SPACE_BASE, "char", 0, 0),
	ARRAY("kallsyms_offsets", ISF_SPACE_BASE, "int", 0, 0),
	ARRAY("kallsyms_names", ISF_SPACE_BASE, "unsigned char", 0, 0),
	ARRAY("kallsyms_markers", ISF_SPACE_BASE, "unsigned int", 0, 0),
	ARRAY("kallsyms_token_table", ISF_SPACE_BASE, "char", 0, 0),
	ARRAY("kallsyms_token_index", ISF_SPACE_BASE, "short unsigned int", 0, 0),
	ARRAY("kallsyms_seqs_of_names", ISF_SPACE_BASE, "unsigned char", 0, 0),
	TO_NEXT("sys_call_table", ISF_SPACE_BASE, "void", 1, 8),
	TO_NEXT("ia32_sys_call_table", ISF_SPACE_BASE, "void", 1, 8),
	TO_NEXT("__start___tracepoints_ptrs", ISF_SPACE_BASE, "int", 0, 4),
	TO_NEXT("taint_flags", ISF_SPACE_USER, "taint_flag", 0, 0),
};

static bool matches(const char *pattern, const char *symbol)
{
	size_t all = strlen(symbol), tail = strlen(pattern) - 1;

	if (pattern[0] != '*')
		return strcmp(pattern, symbol) == 0;
	return all >= tail && strcmp(symbol + all - tail, pattern + 1) == 0;
}

const struct isf_known *isf_known_find(const char *symbol)
{
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (matches(known[i].symbol, symbol))
			return &known[i];
	return NULL;
}
