"""Where learned tasks are kept: in memory and in a folder."""

from supermasks.bank.bank import MaskBank
from supermasks.bank.bytes import BankBytes, csc_bytes
from supermasks.bank.check import Problem
from supermasks.bank.folder import BankFolder
from supermasks.bank.header import BankHeader

__all__ = ["BankBytes", "BankFolder", "BankHeader", "MaskBank", "Problem", "csc_bytes"]
